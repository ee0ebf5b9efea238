output "name" {
  description = "The Worker's name, for wrangler."
  value       = local.name
}

output "control_plane_entry" {
  description = "What the control plane's file of Workers needs; put the token into the file that it names."
  value       = <<-TOML
    [[worker]]
    id = "${var.edge}"
    app = "${var.app}"
    environment = "${var.environment}"
    url = "https://${split("/", tolist(var.routes)[0])[0]}"
    tokenFile = "${var.edge}.token"
  TOML
}
