# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.16.0; README.md says how to use it.

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = ">= 1.2.4, < 2.0.0"
    }
  }
}

variable "proxmox_url" {
  type        = string
  description = "URL of the API: https://…/api2/json."
  default     = env("PROXMOX_URL")

  validation {
    condition     = var.proxmox_url != ""
    error_message = "Give proxmox_url or PROXMOX_URL in the environment."
  }
}

variable "proxmox_username" {
  type        = string
  description = "Account, such as packer@pve."
  default     = env("PROXMOX_USERNAME")

  validation {
    condition     = var.proxmox_username != ""
    error_message = "Give proxmox_username or PROXMOX_USERNAME in the environment."
  }
}

variable "proxmox_password" {
  type        = string
  description = "Password of the account. From PROXMOX_PASSWORD in the environment."
  default     = env("PROXMOX_PASSWORD")
  sensitive   = true
}

variable "proxmox_token" {
  type        = string
  description = "Secret of the API token that proxmox_username names; takes the place of a password. From PROXMOX_TOKEN in the environment."
  default     = env("PROXMOX_TOKEN")
  sensitive   = true
}

variable "node" {
  type        = string
  description = "Node of the cluster, where the template is made."
  default     = "pve1"

  validation {
    condition     = var.node != ""
    error_message = "Give node."
  }
}

variable "bridge" {
  type        = string
  description = "Bridge of the node, that the network card is on."
  default     = "vmbr0"

  validation {
    condition     = var.bridge != ""
    error_message = "Give bridge."
  }
}

variable "seed" {
  type        = string
  description = "Folder of id_ed25519 and vendor-data, made by prepare.sh. Empty: build."
  default     = ""
}

variable "ssh_timeout" {
  type        = string
  description = "How long the guest may take until it answers."
  default     = "20m"
}

# Variables cannot name this folder in their defaults, locals can.
locals {
  seed = var.seed == "" ? "${path.root}/build" : var.seed
}

source "proxmox-clone" "skyvyos-server" {
  proxmox_url  = var.proxmox_url
  username     = var.proxmox_username
  password     = var.proxmox_password
  token        = var.proxmox_token
  task_timeout = "10m"
  node         = var.node

  # A name of its own for each version: the last one stays until this one is proven.
  vm_name              = "skyvyos-server-1.0.0"
  template_description = "SkyvyOS Server 1.0.0 (Debian 13 trixie)"

  # The machine, as clones will have it.
  cores           = 2
  memory          = 2048
  cpu_type        = "x86-64-v2-AES"
  os              = "l26"
  scsi_controller = "virtio-scsi-single"
  qemu_agent      = true
  serials         = ["socket"]

  # The source has a cloud-init drive, by which Proxmox gives the build account its key.
  clone_vm   = "debian-13"
  full_clone = true

  network_adapters {
    model  = "virtio"
    bridge = var.bridge
  }

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout
}

build {
  sources = ["source.proxmox-clone.skyvyos-server"]

  # The configuration comes by SSH: this platform has no way, or not enough room, to start a machine with it.
  provisioner "file" {
    sources     = ["${path.root}/user-data", "${path.root}/meta-data", "${local.seed}/vendor-data"]
    destination = "/tmp/"
  }

  # Restarts the guest, whose cloud-init then configures it.
  provisioner "shell" {
    scripts           = ["${path.root}/scripts/apply.sh"]
    execute_command   = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    expect_disconnect = true
  }

  # Waits for cloud-init, which configures everything; fails with its errors.
  provisioner "shell" {
    scripts         = ["${path.root}/scripts/wait.sh"]
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    pause_before    = "15s"
  }

  # Sealing comes last, and ends with the power.
  provisioner "file" {
    source      = "${path.root}/scripts/seal.sh"
    destination = "/tmp/skyvypack-seal.sh"
  }

  # Leaves no trace of the build, then switches off.
  provisioner "shell" {
    inline            = ["sudo sh /tmp/skyvypack-seal.sh", "sleep 900", "exit 1"]
    expect_disconnect = true
    skip_clean        = true
  }

  post-processor "manifest" {
    output     = "${path.root}/packer-manifest.json"
    strip_path = true
    custom_data = {
      name    = "skyvyos-server"
      version = "1.0.0"
      debian  = "trixie"
    }
  }
}
