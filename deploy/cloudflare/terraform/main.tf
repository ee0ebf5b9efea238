# A Bascule Worker for one environment of one app.
#
# The provider makes what stands around the Worker. The Worker itself is deployed by wrangler, because no resource of the provider
# can upload a WebAssembly module together with a Durable Object's migration (its issue 6852).

locals {
  name  = "bascule-${var.app}-${var.environment}"
  built = abspath("${path.module}/${var.built}")
  files = ["index.js", "glue.js", "index.wasm"]

  wrangler = {
    name                    = local.name
    account_id              = var.account_id
    main                    = "${local.built}/index.js"
    base_dir                = local.built
    compatibility_date      = "2026-07-01"
    no_bundle               = true
    find_additional_modules = true
    workers_dev             = false
    rules = [
      { type = "ESModule", globs = ["**/*.js"] },
      { type = "CompiledWasm", globs = ["**/*.wasm"] },
    ]
    vars = {
      APP           = var.app
      ENVIRONMENT   = var.environment
      EDGE          = var.edge
      ORIGIN        = var.origin
      CONTROL_PLANE = var.control_plane
      PUBLIC_KEYS   = join(",", var.public_keys)
      REGION        = var.region
    }
    durable_objects = {
      bindings = [{ name = "SNAPSHOT", class_name = "SnapshotObject" }]
    }
    migrations    = [{ tag = "v1", new_sqlite_classes = ["SnapshotObject"] }]
    kv_namespaces = [{ binding = "COPIES", id = cloudflare_workers_kv_namespace.copies.id }]
  }
}

resource "cloudflare_workers_kv_namespace" "copies" {
  account_id = var.account_id
  title      = "${local.name}-copies"
}

resource "local_file" "wrangler" {
  filename        = "${path.module}/.generated/${local.name}.json"
  content         = jsonencode(local.wrangler)
  file_permission = "0600"
}

resource "terraform_data" "worker" {
  input = { config = abspath(local_file.wrangler.filename) }

  triggers_replace = {
    config = local_file.wrangler.content_sha256
    files  = [for file in local.files : filesha256("${local.built}/${file}")]
  }

  provisioner "local-exec" {
    command = "npx wrangler deploy --config '${self.input.config}'"
  }
}

resource "terraform_data" "edge_token" {
  # A digest, so that a turned token is noticed and the state has it once less.
  triggers_replace = { token = sha256(var.edge_token), worker = terraform_data.worker.id }

  provisioner "local-exec" {
    command     = "printf %s \"$EDGE_TOKEN\" | npx wrangler secret put EDGE_TOKEN --config '${terraform_data.worker.input.config}'"
    environment = { EDGE_TOKEN = var.edge_token }
  }
}

resource "cloudflare_workers_route" "routes" {
  for_each = var.routes

  zone_id = var.zone_id
  pattern = each.value
  script  = local.name

  # A Worker that nobody may push to would serve the origin alone.
  depends_on = [terraform_data.edge_token]
}
