// The newest Packer that skyvypack writes for, and its plugins. Built by `nox -s packer_latest`, needed by nothing else.
module skyvypack.example/tools/newest_packer

go 1.26.3

require (
	github.com/hashicorp/packer v1.16.0
	github.com/hashicorp/packer-plugin-amazon v1.8.2
	github.com/hashicorp/packer-plugin-hyperv v1.1.4
	github.com/hashicorp/packer-plugin-proxmox v1.2.4
	github.com/hashicorp/packer-plugin-qemu v1.1.4
	github.com/hashicorp/packer-plugin-virtualbox v1.1.5
	// 2.1.0: a module whose path does not say so has no such version, only the tag's commit.
	github.com/vmware/packer-plugin-vmware v1.2.1-0.20260303140746-824640169901
)

// As in the go.mod of each: a newer one cannot encode what plugins and Packer tell each other.
replace github.com/zclconf/go-cty => github.com/nywilken/go-cty v1.13.3
