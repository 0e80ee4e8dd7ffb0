//go:build !debian

package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
)

// tell gives every machine that runs an address, as VMware Tools in it would.
func tell(service *simulator.Service, address string) {
	ctx := service.Context
	for range time.Tick(20 * time.Millisecond) {
		for _, entity := range ctx.Map.All("VirtualMachine") {
			vm := entity.(*simulator.VirtualMachine)
			ctx.WithLock(vm, func() {
				if told := changes(vm, address); told != nil {
					ctx.Update(vm, told)
				}
			})
		}
	}
}
