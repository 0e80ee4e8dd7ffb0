//go:build debian

package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
)

// tell gives every machine that runs an address, in the words of Debian's library (govmomi 0.24).
func tell(_ *simulator.Service, address string) {
	for range time.Tick(20 * time.Millisecond) {
		for _, entity := range simulator.Map.All("VirtualMachine") {
			vm := entity.(*simulator.VirtualMachine)
			simulator.Map.WithLock(vm, func() {
				if told := changes(vm, address); told != nil {
					simulator.Map.Update(vm, told)
				}
			})
		}
	}
}
