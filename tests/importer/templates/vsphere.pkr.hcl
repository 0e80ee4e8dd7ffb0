locals {
  build_by   = "Built by: team"
  build_date = formatdate("YYYY-MM-DD hh:mm ZZZ", timestamp())
  manifest   = "manifests/${local.build_date}.json"
  data_source_content = {
    "/ks.cfg" = templatefile("${abspath(path.root)}/data/ks.pkrtpl.hcl", { password = var.build_password })
  }
  data_source_command = var.common_data_source == "http" ? "url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/ks.cfg" : "file=/media/ks.cfg"
  vm_name             = "${var.vm_guest_os_family}-${var.vm_guest_os_name}-${var.vm_guest_os_version}"
}

variable "vsphere_endpoint" { type = string }
variable "vsphere_username" {
  type      = string
  sensitive = true
}
variable "vsphere_password" {
  type      = string
  sensitive = true
}
variable "build_password" {
  type      = string
  default   = "canary-build"
  sensitive = true
}
variable "common_data_source" { default = "http" }
variable "vm_guest_os_family" { default = "linux" }
variable "vm_guest_os_name" { default = "debian" }
variable "vm_guest_os_version" { default = "12" }
variable "vm_firmware" { default = "efi-secure" }
variable "vm_cpu_sockets" {
  type    = number
  default = 2
}
variable "vm_mem_size" { default = 2048 }
variable "vm_disk_size" { default = 40960 }
variable "vm_disk_controller_type" { default = ["pvscsi"] }
variable "iso_datastore" { default = "nas01" }
variable "common_template_conversion" { default = true }

source "vsphere-iso" "linux-debian" {
  vcenter_server      = var.vsphere_endpoint
  username            = var.vsphere_username
  password            = var.vsphere_password
  insecure_connection = true

  datacenter = "dc01"
  cluster    = "cluster01"
  datastore  = "vsan01"
  folder     = "templates/linux"

  guest_os_type        = "debian12_64Guest"
  vm_name              = local.vm_name
  firmware             = var.vm_firmware
  CPUs                 = var.vm_cpu_sockets
  cpu_cores            = 1
  RAM                  = var.vm_mem_size
  cdrom_type           = "sata"
  disk_controller_type = var.vm_disk_controller_type
  storage {
    disk_size             = var.vm_disk_size
    disk_thin_provisioned = true
  }
  network_adapters {
    network      = "VM Network"
    network_card = "vmxnet3"
  }
  vm_version           = 19
  remove_cdrom         = true
  tools_upgrade_policy = true
  notes                = "Version: ${local.build_date}\n${local.build_by}"

  iso_paths    = ["[${var.iso_datastore}] iso/debian-12.5.0-amd64-netinst.iso"]
  http_content = var.common_data_source == "http" ? local.data_source_content : null
  boot_order   = "disk,cdrom"
  boot_wait    = "5s"
  boot_command = ["<wait3s>c<wait3s>", "linux /install.amd/vmlinuz ${local.data_source_command}<enter>"]

  ip_wait_timeout  = "20m"
  shutdown_command = "echo '${var.build_password}' | sudo -S -E shutdown -P now"
  communicator     = "ssh"
  ssh_username     = "builder"
  ssh_password     = var.build_password
  ssh_port         = 22
  ssh_timeout      = "30m"

  convert_to_template = var.common_template_conversion
  dynamic "content_library_destination" {
    for_each = ["lib"]
    content {
      library = content_library_destination.value
    }
  }
}

build {
  sources = ["source.vsphere-iso.linux-debian"]
  provisioner "ansible" {
    playbook_file    = "site.yml"
    extra_arguments  = ["--extra-vars", "build_password=${var.build_password}"]
    ansible_env_vars = ["ANSIBLE_HOST_KEY_CHECKING=False"]
  }
  post-processor "manifest" {
    output = local.manifest
  }
}
