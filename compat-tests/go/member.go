package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// member is a member of a consumer group: what the libraries share. The protocol is described in
// tests/clients/group_member.rs: options as one JSON argument, events as JSON lines out, and the end of the input means
// to leave.
type member struct {
	Bootstrap   string `json:"bootstrap"`
	Topic       string `json:"topic"`
	Group       string `json:"group"`
	Protocol    string `json:"protocol"`
	Assignor    string `json:"assignor"`
	SessionMs   int    `json:"session_ms"`
	HeartbeatMs int    `json:"heartbeat_ms"`

	lock  sync.Mutex
	owned map[int32]struct{}
}

var memberPrograms = map[string]func(*member, context.Context) error{
	"franz-go": (*member).franzGo,
	"kafka-go": (*member).kafkaGo,
	"sarama":   (*member).sarama,
}

func runMember(library string, options string) {
	m := member{owned: map[int32]struct{}{}}
	if err := json.Unmarshal([]byte(options), &m); err != nil {
		log.Fatal(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		leave()
	}()
	program, ok := memberPrograms[library]
	if !ok {
		log.Fatalf("no group member of %s", library)
	}
	if err := program(&m, ctx); err != nil {
		log.Fatal(err)
	}
}

func (m *member) session() time.Duration   { return time.Duration(m.SessionMs) * time.Millisecond }
func (m *member) heartbeat() time.Duration { return time.Duration(m.HeartbeatMs) * time.Millisecond }

func (m *member) gained(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, partition := range partitions {
		m.owned[partition] = struct{}{}
	}
	m.tell("owns", m.ownedNow())
}

func (m *member) gaveUp(partitions []int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, partition := range partitions {
		delete(m.owned, partition)
	}
	m.tell("owns", m.ownedNow())
}

func (m *member) ownedNow() []int32 {
	return slices.AppendSeq([]int32{}, maps.Keys(m.owned))
}

// read tells of records, pairs of partition and offset.
func (m *member) read(records ...[2]int64) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.tell("records", records)
}

func (m *member) committed(offsets ...[2]int64) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.tell("committed", offsets)
}

func (m *member) failed(err error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.tell("failed", err.Error())
}

// tell wants the lock to be held, so that lines come in the order of their times.
func (m *member) tell(what string, value any) {
	line, err := json.Marshal(object{"at": time.Now().UnixMilli(), what: value})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
