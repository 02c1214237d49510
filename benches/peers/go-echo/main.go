// Command go-echo is the peer that `sigma-bench wire` compares sigma with: a scheduler extender as
// people write one in Go. It takes net/http, encoding/json and the types of kube-scheduler itself,
// knows nothing about the cluster, and decides nothing that costs anything: what is left is what
// any extender in Go pays for a call.
//
//	go-echo --listen 127.0.0.1:8888 [--refuse 369]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// extender answers for every pod alike.
type extender struct {
	// refuse has the last characters of the names of nodes that no pod may go to.
	refuse string
}

// filter returns the names that are not refused. What is refused is left out of the reply, as sigma
// does: an entry in FailedNodes for each would cost the peer more.
func (e *extender) filter(args *extenderv1.ExtenderArgs) *extenderv1.ExtenderFilterResult {
	if args.NodeNames == nil {
		return &extenderv1.ExtenderFilterResult{Error: "this extender needs nodeCacheCapable: true"}
	}
	if e.refuse == "" {
		return &extenderv1.ExtenderFilterResult{NodeNames: args.NodeNames}
	}
	accepted := make([]string, 0, len(*args.NodeNames))
	for _, name := range *args.NodeNames {
		if !e.refused(name) {
			accepted = append(accepted, name)
		}
	}
	return &extenderv1.ExtenderFilterResult{NodeNames: &accepted}
}

func (e *extender) refused(name string) bool {
	return name != "" && strings.IndexByte(e.refuse, name[len(name)-1]) >= 0
}

// prioritize gives every node a score that is the same on each call.
func (e *extender) prioritize(args *extenderv1.ExtenderArgs) *extenderv1.HostPriorityList {
	scores := extenderv1.HostPriorityList{}
	if args.NodeNames == nil {
		return &scores
	}
	scores = make(extenderv1.HostPriorityList, 0, len(*args.NodeNames))
	for i, name := range *args.NodeNames {
		score := int64(i) % (extenderv1.MaxExtenderPriority + 1)
		scores = append(scores, extenderv1.HostPriority{Host: name, Score: score})
	}
	return &scores
}

// handle is the frame that both verbs share: arguments in, answer out.
func handle[T any](answer func(*extenderv1.ExtenderArgs) *T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var args extenderv1.ExtenderArgs
		if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer(&args)); err != nil {
			log.Printf("cannot write an answer: %v", err)
		}
	}
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8888", "`address` to listen on; port 0 takes any free one")
	refuse := flag.String("refuse", "", "refuse nodes whose name ends in one of these `characters`")
	flag.Parse()

	peer := &extender{refuse: *refuse}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /filter", handle(peer.filter))
	mux.HandleFunc("POST /prioritize", handle(peer.prioritize))

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(stop, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
