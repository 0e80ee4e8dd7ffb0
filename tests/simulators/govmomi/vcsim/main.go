// vcsim runs govmomi's vCenter simulator for the tests: on loopback, over TLS, until its standard input ends.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"time"

	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/sts/simulator"
	_ "github.com/vmware/govmomi/vapi/cluster/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	model := simulator.VPX()
	user := flag.String("username", "user", "who may log in")
	cert := flag.String("cert", "", "certificate, PEM")
	key := flag.String("key", "", "its key, PEM")
	address := flag.String("address", "", "what VMware Tools tell of a machine that runs")
	flag.IntVar(&model.Datastore, "ds", model.Datastore, "datastores of each datacenter")
	flag.IntVar(&model.Machine, "vm", 0, "machines of each pool")
	flag.IntVar(&model.Pod, "pod", 0, "datastore clusters of each datacenter")
	flag.IntVar(&model.Folder, "folder", 0, "folders around each object")
	flag.Parse()
	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	model.Autostart = false
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	defer model.Remove()
	service := model.Service
	service.RegisterEndpoints = true
	// The password comes by the environment: an argument would be seen by every user of the machine.
	service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*user, os.Getenv("VCSIM_PASSWORD"))}
	service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server := service.NewServer()
	defer server.Close()
	if *address != "" {
		go tell(service, *address)
	}
	fmt.Println(server.URL.Host)
	// Ends with the test, also when that is killed.
	_, _ = io.Copy(io.Discard, os.Stdin)
	time.AfterFunc(2*time.Second, func() { os.Exit(0) })
}
