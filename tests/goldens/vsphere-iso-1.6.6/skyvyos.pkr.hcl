# SkyvyOS Server 1.0.0 (Debian 13 trixie), made by skyvypack for Packer 1.6.6; README.md says how to use it.

packer {
  required_version = ">= 1.6.6"
}

variable "vcenter_server" {
  type        = string
  description = "Name of the vCenter, without https://."
  default     = env("VSPHERE_SERVER")

  validation {
    condition     = var.vcenter_server != ""
    error_message = "Give vcenter_server or VSPHERE_SERVER in the environment."
  }
}

variable "vcenter_username" {
  type        = string
  description = "Account, such as packer@vsphere.local."
  default     = env("VSPHERE_USER")

  validation {
    condition     = var.vcenter_username != ""
    error_message = "Give vcenter_username or VSPHERE_USER in the environment."
  }
}

variable "vcenter_password" {
  type        = string
  description = "Password of the account. From VSPHERE_PASSWORD in the environment."
  default     = env("VSPHERE_PASSWORD")
  sensitive   = true
}

variable "datacenter" {
  type        = string
  description = "May be empty when there is only one."
  default     = ""
}

variable "cluster" {
  type        = string
  description = "Where the template runs while it is made; this or host."
  default     = "cluster1"
}

variable "host" {
  type        = string
  description = "ESXi host; within the cluster when that is given."
  default     = ""
}

variable "datastore" {
  type        = string
  description = "Holds the template; may be empty when the host has only one."
  default     = ""
}

variable "folder" {
  type        = string
  description = "Folder of virtual machines."
  default     = ""
}

variable "network" {
  type        = string
  description = "Port group of the network card; empty for the host's default."
  default     = ""
}

variable "installer" {
  type        = string
  description = "The installer, made by prepare.sh. Empty: build/installer.iso."
  default     = ""
}

variable "installer_checksum" {
  type        = string
  description = "Checksum of the installer, such as sha256:…, or file: and a list of them. Empty: what prepare.sh wrote."
  default     = ""
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
  seed               = var.seed == "" ? "${path.root}/build" : var.seed
  installer          = var.installer == "" ? "${path.root}/build/installer.iso" : var.installer
  installer_checksum = var.installer_checksum == "" ? "file:${path.root}/build/installer.iso.sha256" : var.installer_checksum
}

source "vsphere-iso" "skyvyos-server" {
  vcenter_server = var.vcenter_server
  username       = var.vcenter_username
  password       = var.vcenter_password
  datacenter     = var.datacenter
  cluster        = var.cluster
  host           = var.host
  datastore      = var.datastore
  folder         = var.folder

  # A name of its own for each version: the last one stays until this one is proven.
  vm_name = "skyvyos-server-1.0.0"
  notes   = "SkyvyOS Server 1.0.0 (Debian 13 trixie)"

  # The machine, as clones will have it.
  CPUs     = 2
  RAM      = 2048
  firmware = "efi"

  # How it is installed.
  guest_os_type        = "debian11_64Guest"
  disk_controller_type = ["pvscsi"]
  iso_url              = local.installer
  iso_checksum         = local.installer_checksum

  storage {
    disk_size             = 8192
    disk_thin_provisioned = true
  }

  network_adapters {
    network      = var.network
    network_card = "vmxnet3"
  }

  # vendor-data makes this account; sealing removes it.
  communicator         = "ssh"
  ssh_username         = "packer"
  ssh_private_key_file = "${local.seed}/id_ed25519"
  ssh_timeout          = var.ssh_timeout

  # Leaves no trace of the build, then switches off.
  shutdown_command = "sudo sh /tmp/skyvypack-seal.sh"
  shutdown_timeout = "15m"

  # What vCenter is left with.
  remove_cdrom        = true
  convert_to_template = true
}

build {
  sources = ["source.vsphere-iso.skyvyos-server"]

  # Waits for cloud-init, which configures everything; fails with its errors.
  provisioner "shell" {
    scripts         = ["${path.root}/scripts/wait.sh"]
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
  }

  # Sealing comes last, and ends with the power.
  provisioner "file" {
    source      = "${path.root}/scripts/seal.sh"
    destination = "/tmp/skyvypack-seal.sh"
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
