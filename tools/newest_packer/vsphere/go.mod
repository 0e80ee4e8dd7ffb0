// Apart from the others, whose newer Kubernetes libraries its own do not compile with.
module skyvypack.example/tools/newest_packer/vsphere

go 1.26.3

// 2.0.0: a module whose path does not say so has no such version, only the tag's commit.
require github.com/hashicorp/packer-plugin-vsphere v1.4.3-0.20250806093312-2af6d832a1c2

replace github.com/zclconf/go-cty => github.com/nywilken/go-cty v1.13.3
