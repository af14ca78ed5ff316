// The client program for the Go libraries, as `client LIBRARY BOOTSTRAP`: requests as JSON lines in, answers as JSON lines
// out. The vocabulary is described in src/client.rs. As `client member LIBRARY OPTIONS` it is a member of a consumer group;
// as `client transactions LIBRARY …` it runs the transactions of tests/clients/transactions.rs.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const patience = 50 * time.Second

// request holds the fields of every request; each uses its own.
type request struct {
	Do         string             `json:"do"`
	Topic      string             `json:"topic"`
	Partition  int32              `json:"partition"`
	Partitions int32              `json:"partitions"`
	Total      int                `json:"total"`
	Configs    map[string]*string `json:"configs"`
	Changes    []change           `json:"changes"`
	Records    []record           `json:"records"`
	Codec      string             `json:"codec"`
	Acks       int                `json:"acks"`
	Idempotent bool               `json:"idempotent"`
	Count      int                `json:"count"`
	At         json.RawMessage    `json:"at"`
	Before     int64              `json:"before"`
}

type change struct {
	Op    string  `json:"op"`
	Name  string  `json:"name"`
	Value *string `json:"value"`
}

// record has its bytes as base64 in JSON, which is what encoding/json makes of []byte.
type record struct {
	Partition int32    `json:"partition"`
	Offset    *int64   `json:"offset"`
	Timestamp *int64   `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []header `json:"headers"`
}

// header is a pair [name, value].
type header struct {
	name  string
	value []byte
}

func (h header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.name, &h.value})
}

type failure struct {
	Code    *int16 `json:"code"`
	Message string `json:"message"`
}

type answer struct {
	Ok    any      `json:"ok"`
	Error *failure `json:"error,omitempty"`
}

// handler answers requests by one library.
type handler interface {
	handle(ctx context.Context, r *request) (any, error)
}

var clientPrograms = map[string]func(bootstrap string) (handler, error){
	"franz-go": newClient,
	"kafka-go": newKafkaGoClient,
	"sarama":   newSaramaClient,
}

// time gives what a request for offsets asks for: the numbers of the library for both ends, or milliseconds since 1970.
func (r *request) time(earliest, latest int64) (int64, error) {
	switch string(r.At) {
	case `"earliest"`:
		return earliest, nil
	case `"latest"`:
		return latest, nil
	}
	var at struct{ Time int64 }
	err := json.Unmarshal(r.At, &at)
	return at.Time, err
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "member" {
		runMember(os.Args[2], os.Args[3])
		return
	}
	if len(os.Args) == 7 && os.Args[1] == "transactions" {
		runTransactions(os.Args[2], transactions{os.Args[3], os.Args[4], os.Args[5], os.Args[6]})
		return
	}
	connect, ok := clientPrograms[os.Args[1]]
	if !ok || len(os.Args) != 3 {
		log.Fatalf("no client of %v", os.Args[1:])
	}
	client, err := connect(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := output.Encode(answerTo(client, line)); err != nil {
			log.Fatal(err)
		}
	}
}

func answerTo(client handler, line []byte) answer {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	result, err := client.handle(ctx, &r)
	if err == nil {
		return answer{Ok: result}
	}
	failed := failure{Message: err.Error()}
	var refused *kerr.Error
	if errors.As(err, &refused) {
		failed.Code = &refused.Code
	} else if code, ok := saramaCode(err); ok {
		failed.Code = &code
	} else if code, ok := kafkaGoCode(err); ok {
		failed.Code = &code
	}
	return answer{Error: &failed}
}

// versionOf tells which version of a module is built in.
func versionOf(path string) (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("no build information")
	}
	for _, module := range info.Deps {
		if module.Path == path {
			return fmt.Sprintf("%s (%s)", module.Version, info.GoVersion), nil
		}
	}
	return "", errors.New("built without " + path)
}
