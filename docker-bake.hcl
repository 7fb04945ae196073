// All images at once: `docker buildx bake`. REGISTRY, VERSION and SOURCE_DATE_EPOCH come from the environment; the last is the time of
// the commit, `git log -1 --format=%ct`, so that the same commit gives the same layers. `--push` sends them, with SBOM and provenance.
variable "REGISTRY" {
  default = "localhost"
}

variable "VERSION" {
  default = "latest"
}

variable "SOURCE_DATE_EPOCH" {
  default = "0"
}

group "default" {
  targets = ["image"]
}

target "image" {
  name = name
  matrix = {
    name = [
      "rest-api", "provider-router", "provider-router-minilm", "cost-ledger", "vector-store", "admin", "embermesh", "operations",
    ]
  }
  context = "."
  target  = name
  tags    = ["${REGISTRY}/developer-mesh/${name}:${VERSION}"]
  args = {
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
  attest = [
    { type = "sbom" },
    { type = "provenance", mode = "max" },
  ]
  output = ["type=image,rewrite-timestamp=true"]
}
