package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// changes are what VMware Tools tell of a machine that runs; none while it is off, or when they have told.
func changes(vm *simulator.VirtualMachine, address string) []types.PropertyChange {
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn || vm.Guest.IpAddress != "" {
		return nil
	}
	return []types.PropertyChange{
		{Name: "guest.ipAddress", Val: address},
		{Name: "summary.guest.ipAddress", Val: address},
		{Name: "guest.net", Val: cards(vm, address)},
	}
}

// cards are the network cards of a machine, each with the address.
func cards(vm *simulator.VirtualMachine, address string) []types.GuestNicInfo {
	var told []types.GuestNicInfo
	for _, device := range vm.Config.Hardware.Device {
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			told = append(told, types.GuestNicInfo{
				MacAddress: card.GetVirtualEthernetCard().MacAddress,
				IpAddress:  []string{address},
				IpConfig:   &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{{IpAddress: address, PrefixLength: 24}}},
			})
		}
	}
	return told
}
