<#
.SYNOPSIS
Makes a virtual machine of Hyper-V from this template: {{ spec.title }}.

.DESCRIPTION
The template's disk is copied, never started itself. The machine is not started either, so that it can be changed first.

.PARAMETER Name
Of the machine.

.PARAMETER Seed
An ISO with cloud-init's data (label cidata), as `skyvypack user-data --iso seed.iso` writes it. Without it nobody can log in.

.PARAMETER Folder
Where the machine is put; Hyper-V's own folder for disks by default.

.EXAMPLE
.\register.ps1 -Name web1 -Seed .\seed.iso
Start-VM web1
#>
#Requires -Modules Hyper-V
[CmdletBinding(SupportsShouldProcess)]
param(
    [Parameter(Mandatory)] [ValidatePattern('^[A-Za-z0-9][A-Za-z0-9 ._-]*$')] [string] $Name,
    [string] $Seed,
    [string] $Switch = '{{ settings.switch | replace("'", "''") }}',
    [string] $Folder = (Get-VMHost).VirtualHardDiskPath,
    [ValidateRange(1, 256)] [int] $Cpus = {{ spec.machine.cpus }},
    [ValidateRange(512MB, 4TB)] [uint64] $Memory = {{ spec.machine.memory }}MB
)

$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest

$template = Join-Path $PSScriptRoot '{{ stem }}.vhdx'
$digest = '{{ digests["vhdx"] }}'
$disk = Join-Path $Folder "$Name.vhdx"

# Everything that can be wrong is found before anything is made.
if (Get-VM -Name $Name -ErrorAction SilentlyContinue) { throw "there is a machine $Name already" }
if (Test-Path -LiteralPath $disk) { throw "$disk exists" }
if (-not (Test-Path -LiteralPath $template)) { throw "there is no $template beside this script" }
if ($Seed -and -not (Test-Path -LiteralPath $Seed)) { throw "there is no $Seed" }
if (-not (Get-VMSwitch -Name $Switch -ErrorAction SilentlyContinue)) { throw "there is no switch $Switch" }
if ((Get-FileHash -Algorithm SHA256 -LiteralPath $template).Hash -ne $digest) { throw "$template is damaged" }
if (-not $PSCmdlet.ShouldProcess($Name, 'Make a virtual machine')) { return }

$machine = $null
try {
    Copy-Item -LiteralPath $template -Destination $disk
    $machine = New-VM -Name $Name -Generation {{ 2 if spec.machine.firmware == "uefi" else 1 }} -MemoryStartupBytes $Memory -VHDPath $disk -SwitchName $Switch
    Set-VM -VM $machine -ProcessorCount $Cpus -AutomaticCheckpointsEnabled $false -Notes '{{ spec.title | replace("'", "''") }}'
    Set-VMMemory -VM $machine -DynamicMemoryEnabled ${{ "true" if settings.dynamic_memory else "false" }}
{%- if spec.machine.firmware == "uefi" %}
    # GRUB of the template is not signed: secure boot would refuse it.
    Set-VMFirmware -VM $machine -EnableSecureBoot Off -FirstBootDevice (Get-VMHardDiskDrive -VM $machine)
{%- endif %}
{%- if settings.vlan %}
    Set-VMNetworkAdapterVlan -VM $machine -Access -VlanId {{ settings.vlan }}
{%- endif %}
{%- if settings.mac_spoofing %}
    Set-VMNetworkAdapter -VM $machine -MacAddressSpoofing On
{%- endif %}
    Set-VMComPort -VM $machine -Number 1 -Path "\\.\pipe\$Name-console"
    if ($Seed) { Add-VMDvdDrive -VM $machine -Path (Resolve-Path -LiteralPath $Seed).Path }
    $machine
}
catch {
    if ($machine) { Remove-VM -VM $machine -Force }
    Remove-Item -LiteralPath $disk -ErrorAction SilentlyContinue
    throw
}
