variable "account_id" {
  description = "The account that the Worker belongs to."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.account_id))
    error_message = "An account id has 32 hexadecimal digits."
  }
}

variable "zone_id" {
  description = "The zone of the routes."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{32}$", var.zone_id))
    error_message = "A zone id has 32 hexadecimal digits."
  }
}

variable "routes" {
  description = "Patterns that the Worker serves, such as shop.example/*."
  type        = set(string)
}

variable "app" {
  description = "The app whose snapshots it takes."
  type        = string
}

variable "environment" {
  description = "The environment whose snapshots it takes."
  type        = string
}

variable "edge" {
  description = "Its id among the control plane's edges."
  type        = string
}

variable "origin" {
  description = "URL of what serves as long as no snapshot was ever seen."
  type        = string

  validation {
    condition     = startswith(var.origin, "https://")
    error_message = "The origin is an https URL."
  }
}

variable "control_plane" {
  description = "URL of the control plane that gets reports."
  type        = string
}

variable "public_keys" {
  description = "Ed25519 public keys of the control plane."
  type        = list(string)

  validation {
    condition     = length(var.public_keys) > 0 && alltrue([for key in var.public_keys : can(regex("^[0-9a-f]{64}$", key))])
    error_message = "At least one key is needed, and each has 64 hexadecimal digits."
  }
}

variable "region" {
  description = "Where the edge is said to be; empty for nowhere."
  type        = string
  default     = ""
}

variable "edge_token" {
  description = "A token with the role edge for this environment and nothing else: TF_VAR_edge_token."
  type        = string
  sensitive   = true
}

variable "built" {
  description = "The folder that `cargo xtask worker build` leaves."
  type        = string
  default     = "../../../target/worker"
}
