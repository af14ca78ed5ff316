package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

type kafkaGoClient struct {
	bootstrap string
	client    kafka.Client
}

func newKafkaGoClient(bootstrap string) (handler, error) {
	return &kafkaGoClient{bootstrap, kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: patience}}, nil
}

func (c *kafkaGoClient) handle(ctx context.Context, r *request) (any, error) {
	// The transport that all share remembers metadata, and does not try again where a connection has ended.
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	c.client.Transport = transport
	switch r.Do {
	case "version":
		return versionOf("github.com/segmentio/kafka-go")
	case "list-topics":
		metadata, err := c.client.Metadata(ctx, &kafka.MetadataRequest{})
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, topic := range metadata.Topics {
			names = append(names, topic.Name)
		}
		return names, nil
	case "describe-topic":
		return c.describeTopic(ctx, r)
	case "create-topic":
		topic := kafka.TopicConfig{Topic: r.Topic, NumPartitions: int(r.Partitions), ReplicationFactor: 1}
		for name, value := range r.Configs {
			topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: *value})
		}
		response, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
		if err != nil {
			return nil, err
		}
		return nil, response.Errors[r.Topic]
	case "create-partitions":
		topic := kafka.TopicPartitionsConfig{Name: r.Topic, Count: int32(r.Total)}
		request := kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{topic}}
		response, err := c.client.CreatePartitions(ctx, &request)
		if err != nil {
			return nil, err
		}
		return nil, response.Errors[r.Topic]
	case "delete-topic":
		response, err := c.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{r.Topic}})
		if err != nil {
			return nil, err
		}
		return nil, response.Errors[r.Topic]
	case "produce":
		return c.produce(ctx, r)
	case "consume":
		return c.consume(ctx, r)
	case "offsets":
		return c.offsets(ctx, r)
	case "describe-configs":
		return c.describeConfigs(ctx, r)
	case "alter-configs":
		return nil, c.alterConfigs(ctx, r)
	case "describe-cluster":
		return c.describeCluster(ctx)
	}
	return nil, fmt.Errorf("cannot do %s", r.Do)
}

func (c *kafkaGoClient) describeTopic(ctx context.Context, r *request) (any, error) {
	metadata, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{r.Topic}})
	if err := first(err, metadata.Topics[0].Error); err != nil {
		return nil, err
	}
	described := metadata.Topics[0].Partitions
	slices.SortFunc(described, func(a, b kafka.Partition) int { return a.ID - b.ID })
	ids := func(brokers []kafka.Broker) []int {
		ids := []int{}
		for _, broker := range brokers {
			ids = append(ids, broker.ID)
		}
		return ids
	}
	partitions := []object{}
	for _, p := range described {
		partitions = append(partitions, object{"leader": p.Leader.ID, "replicas": ids(p.Replicas), "isr": ids(p.Isr)})
	}
	return partitions, nil
}

// produce uses the library's Writer, whose balancer is told the partition of each record. It tells no offsets.
func (c *kafkaGoClient) produce(ctx context.Context, r *request) (any, error) {
	codecs := map[string]kafka.Compression{
		"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
	}
	writer := kafka.Writer{
		Addr:         kafka.TCP(c.bootstrap),
		Transport:    c.client.Transport,
		Topic:        r.Topic,
		RequiredAcks: kafka.RequiredAcks(r.Acks),
		Compression:  codecs[r.Codec],
		BatchBytes:   50_000_000,
		// The records of a request share batches.
		BatchTimeout:           20 * time.Millisecond,
		AllowAutoTopicCreation: false,
		Balancer: kafka.BalancerFunc(func(message kafka.Message, _ ...int) int {
			return message.WriterData.(int)
		}),
	}
	defer writer.Close()
	messages := make([]kafka.Message, len(r.Records))
	for i, each := range r.Records {
		message := kafka.Message{Key: each.Key, Value: each.Value, WriterData: int(each.Partition)}
		for _, h := range each.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: h.name, Value: h.value})
		}
		if each.Timestamp != nil {
			message.Time = time.UnixMilli(*each.Timestamp)
		}
		messages[i] = message
	}
	if err := writer.WriteMessages(ctx, messages...); err != nil {
		return nil, err
	}
	return make([]*int64, len(messages)), nil
}

func (c *kafkaGoClient) consume(ctx context.Context, r *request) (any, error) {
	ends, err := c.offsetsAt(ctx, r, kafka.LastOffset)
	if err != nil {
		return nil, err
	}
	records := []record{}
	for partition, end := range ends {
		reader := kafka.NewReader(kafka.ReaderConfig{
			Brokers:        []string{c.bootstrap},
			Topic:          r.Topic,
			Partition:      partition,
			MaxWait:        100 * time.Millisecond,
			MaxBytes:       20_000_000,
			ReadBackoffMin: 10 * time.Millisecond,
		})
		read, err := kafkaGoRead(ctx, reader, end)
		if err := first(err, reader.Close()); err != nil {
			return nil, err
		}
		records = append(records, read...)
	}
	if len(records) != r.Count {
		return nil, fmt.Errorf("%d of %d records came", len(records), r.Count)
	}
	return records, nil
}

func kafkaGoRead(ctx context.Context, reader *kafka.Reader, end int64) ([]record, error) {
	records := []record{}
	if err := reader.SetOffset(kafka.FirstOffset); err != nil || end == 0 {
		return records, err
	}
	for {
		message, err := reader.ReadMessage(ctx)
		if err != nil {
			return nil, err
		}
		millis := message.Time.UnixMilli()
		headers := []header{}
		for _, h := range message.Headers {
			headers = append(headers, header{h.Key, h.Value})
		}
		records = append(records,
			record{int32(message.Partition), &message.Offset, &millis, message.Key, message.Value, headers})
		if message.Offset == end-1 {
			return records, nil
		}
	}
}

func (c *kafkaGoClient) offsets(ctx context.Context, r *request) (any, error) {
	time, err := r.time(kafka.FirstOffset, kafka.LastOffset)
	if err != nil {
		return nil, err
	}
	return c.offsetsAt(ctx, r, time)
}

// offsetsAt gives an offset for each partition; -1 where there is none.
func (c *kafkaGoClient) offsetsAt(ctx context.Context, r *request, at int64) ([]int64, error) {
	var wanted []kafka.OffsetRequest
	for partition := range r.Partitions {
		wanted = append(wanted, kafka.OffsetRequest{Partition: int(partition), Timestamp: at})
	}
	response, err := c.client.ListOffsets(ctx,
		&kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{r.Topic: wanted}})
	if err != nil {
		return nil, err
	}
	offsets := make([]int64, r.Partitions)
	for _, p := range response.Topics[r.Topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		switch at {
		case kafka.FirstOffset:
			offsets[p.Partition] = p.FirstOffset
		case kafka.LastOffset:
			offsets[p.Partition] = p.LastOffset
		default:
			offsets[p.Partition] = -1
			for offset := range p.Offsets {
				offsets[p.Partition] = offset
			}
		}
	}
	return offsets, nil
}

func (c *kafkaGoClient) describeConfigs(ctx context.Context, r *request) (any, error) {
	resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}
	response, err := c.client.DescribeConfigs(ctx,
		&kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{resource}})
	if err != nil {
		return nil, err
	}
	values := object{}
	for _, entry := range response.Resources[0].ConfigEntries {
		values[entry.ConfigName] = entry.ConfigValue
	}
	return values, response.Resources[0].Error
}

func (c *kafkaGoClient) alterConfigs(ctx context.Context, r *request) error {
	operations := map[string]kafka.ConfigOperation{
		"set": kafka.ConfigOperationSet, "delete": kafka.ConfigOperationDelete,
		"append": kafka.ConfigOperationAppend, "subtract": kafka.ConfigOperationSubtract,
	}
	resource := kafka.IncrementalAlterConfigsRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic}
	for _, change := range r.Changes {
		config := kafka.IncrementalAlterConfigsRequestConfig{Name: change.Name, ConfigOperation: operations[change.Op]}
		if change.Value != nil {
			config.Value = *change.Value
		}
		resource.Configs = append(resource.Configs, config)
	}
	response, err := c.client.IncrementalAlterConfigs(ctx,
		&kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{resource}})
	if err != nil {
		return err
	}
	return response.Resources[0].Error
}

func (c *kafkaGoClient) describeCluster(ctx context.Context) (any, error) {
	metadata, err := c.client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	brokers := []object{}
	for _, b := range metadata.Brokers {
		brokers = append(brokers, object{"id": b.ID, "host": b.Host, "port": b.Port})
	}
	return object{"cluster_id": metadata.ClusterID, "brokers": brokers}, nil
}

// kafkaGoCode gives the broker's error code, if it is one.
func kafkaGoCode(err error) (int16, bool) {
	var failed kafka.WriteErrors
	if errors.As(err, &failed) {
		for _, each := range failed {
			if each != nil {
				return kafkaGoCode(each)
			}
		}
	}
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) {
		return int16(kafka.MessageSizeTooLarge), true
	}
	var code kafka.Error
	if errors.As(err, &code) && !errors.Is(err, io.EOF) {
		return int16(code), code > 0
	}
	return 0, false
}
