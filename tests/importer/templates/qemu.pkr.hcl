packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = "~> 1"
    }
  }
}

variable "debian_version" {
  type    = string
  default = "12.5.0"
}

variable "ssh_password" {
  type      = string
  default   = "canary-variable"
  sensitive = true
}

variable "mirror" {
  default = "https://cdimage.example/debian-cd"
}

variable "vm_cpus" { default = "4" }
variable "mem" {}

locals {
  stamp   = formatdate("YYYYMMDD", timestamp())
  vm_name = "Debian_${var.debian_version}-${local.stamp}"
  iso     = "${var.mirror}/${var.debian_version}/amd64/iso-cd/debian-${var.debian_version}-amd64-netinst.iso"
}

source "qemu" "debian" {
  iso_url          = local.iso
  iso_checksum     = "sha512:33c08e56c83d13007e4a5511b9bf2c4926c4aa12fd5dd56d493c0653aecbab380988c5bf1671dbaea75c582827797d98c4a611f7fb2b131fbde2c677d5258ec9"
  accelerator      = "kvm"
  disk_size        = "20000M"
  disk_interface   = "virtio"
  format           = "qcow2"
  headless         = true
  http_directory   = "http"
  cpus             = var.vm_cpus
  memory           = var.mem
  net_device       = "virtio-net"
  output_directory = "output-debian"
  qemuargs = [
    ["-cpu", "host"],
    ["-object", "secret,id=sec0,data=canary-qemu"],
  ]
  ssh_username     = "packer"
  ssh_password     = var.ssh_password
  ssh_wait_timeout = "45m"
  shutdown_command = "echo 'canary-sudo' | sudo -S shutdown -P now"
  vm_name          = local.vm_name
  vnc_password     = "canary-vnc"
  vnc_port_min     = 5901
  boot_wait        = "5s"
  boot_command = [
    "<esc><wait>",
    "auto url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/preseed.cfg passwd/user-password=canary-boot",
    "<enter>",
  ]
  cd_content = { "user-data" = "password: canary-cd" }
  frobnicate = true
}

build {
  sources = ["source.qemu.debian"]
  provisioner "shell" {
    environment_vars = ["TOKEN=canary-env"]
    inline           = ["apt-get update", "apt-get install -y nginx"]
  }
  provisioner "ansible" {
    playbook_file = "site.yml"
  }
  post-processors {
    post-processor "compress" {}
    post-processor "checksum" { checksum_types = ["sha256"] }
  }
}
