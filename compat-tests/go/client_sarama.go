package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct {
	bootstrap string
	client    sarama.Client
	admin     sarama.ClusterAdmin
}

func newSaramaClient(bootstrap string) (handler, error) {
	client, err := sarama.NewClient(strings.Split(bootstrap, ","), saramaConfig())
	if err != nil {
		return nil, err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	return &saramaClient{bootstrap, client, admin}, err
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.Retry.Backoff = 50 * time.Millisecond
	config.Consumer.Retry.Backoff = 50 * time.Millisecond
	return config
}

func (c *saramaClient) handle(_ context.Context, r *request) (any, error) {
	switch r.Do {
	case "version":
		return versionOf("github.com/IBM/sarama")
	case "list-topics":
		topics, err := c.admin.ListTopics()
		names := []string{}
		for name := range topics {
			names = append(names, name)
		}
		return names, err
	case "describe-topic":
		return c.describeTopic(r)
	case "create-topic":
		detail := sarama.TopicDetail{NumPartitions: r.Partitions, ReplicationFactor: 1, ConfigEntries: r.Configs}
		return nil, c.admin.CreateTopic(r.Topic, &detail, false)
	case "create-partitions":
		return nil, c.admin.CreatePartitions(r.Topic, int32(r.Total), nil, false)
	case "delete-topic":
		return nil, c.admin.DeleteTopic(r.Topic)
	case "produce":
		return c.produce(r)
	case "consume":
		return c.consume(r)
	case "offsets":
		return c.offsets(r)
	case "describe-configs":
		entries, err := c.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: r.Topic})
		values := object{}
		for _, entry := range entries {
			values[entry.Name] = entry.Value
		}
		return values, err
	case "alter-configs":
		return nil, c.alterConfigs(r)
	case "delete-records":
		if err := c.admin.DeleteRecords(r.Topic, map[int32]int64{r.Partition: r.Before}); err != nil {
			return nil, err
		}
		return c.client.GetOffset(r.Topic, r.Partition, sarama.OffsetOldest)
	case "describe-cluster":
		return c.describeCluster()
	}
	return nil, fmt.Errorf("cannot do %s", r.Do)
}

func (c *saramaClient) describeTopic(r *request) (any, error) {
	topics, err := c.admin.DescribeTopics([]string{r.Topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	described := topics[0].Partitions
	slices.SortFunc(described, func(a, b *sarama.PartitionMetadata) int { return int(a.ID - b.ID) })
	partitions := []object{}
	for _, p := range described {
		partitions = append(partitions, object{"leader": p.Leader, "replicas": p.Replicas, "isr": p.Isr})
	}
	return partitions, nil
}

func (c *saramaClient) produce(r *request) (any, error) {
	config := saramaConfig()
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[r.Codec]
	config.Producer.RequiredAcks = sarama.RequiredAcks(r.Acks)
	config.Producer.Idempotent = r.Idempotent
	if r.Idempotent {
		config.Net.MaxOpenRequests = 1
		config.Producer.RequiredAcks = sarama.WaitForAll
	}
	config.Producer.MaxMessageBytes = 50_000_000
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	// Its own three attempts are over in 300 ms: a new leader may take longer.
	config.Producer.Retry.Max = 30
	// The records of a request share batches.
	config.Producer.Flush.Frequency = 20 * time.Millisecond
	producer, err := sarama.NewSyncProducer(strings.Split(c.bootstrap, ","), config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(r.Records))
	for i, each := range r.Records {
		message := &sarama.ProducerMessage{Topic: r.Topic, Partition: each.Partition}
		// An encoder of a nil slice is not null.
		if each.Key != nil {
			message.Key = sarama.ByteEncoder(each.Key)
		}
		if each.Value != nil {
			message.Value = sarama.ByteEncoder(each.Value)
		}
		for _, h := range each.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.name), Value: h.value})
		}
		if each.Timestamp != nil {
			message.Timestamp = time.UnixMilli(*each.Timestamp)
		}
		messages[i] = message
	}
	if err := producer.SendMessages(messages); err != nil {
		var failed sarama.ProducerErrors
		if errors.As(err, &failed) {
			return nil, failed[0].Err
		}
		return nil, err
	}
	offsets := []int64{}
	for _, message := range messages {
		offsets = append(offsets, message.Offset)
	}
	return offsets, nil
}

func (c *saramaClient) consume(r *request) (any, error) {
	config := saramaConfig()
	config.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumer(strings.Split(c.bootstrap, ","), config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	messages := make(chan *sarama.ConsumerMessage)
	done := make(chan struct{})
	var readers sync.WaitGroup
	defer readers.Wait()
	defer close(done)
	for partition := range r.Partitions {
		reader, err := consumer.ConsumePartition(r.Topic, partition, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		readers.Go(func() {
			defer reader.Close()
			for {
				select {
				case message := <-reader.Messages():
					select {
					case messages <- message:
					case <-done:
						return
					}
				case <-done:
					return
				}
			}
		})
	}
	records := []record{}
	deadline := time.After(patience)
	for len(records) < r.Count {
		select {
		case message := <-messages:
			records = append(records, saramaRecord(message))
		case <-deadline:
			return nil, fmt.Errorf("%d of %d records came", len(records), r.Count)
		}
	}
	return records, nil
}

func saramaRecord(message *sarama.ConsumerMessage) record {
	millis := message.Timestamp.UnixMilli()
	headers := []header{}
	for _, h := range message.Headers {
		headers = append(headers, header{string(h.Key), h.Value})
	}
	return record{message.Partition, &message.Offset, &millis, message.Key, message.Value, headers}
}

func (c *saramaClient) offsets(r *request) (any, error) {
	time, err := r.time(sarama.OffsetOldest, sarama.OffsetNewest)
	if err != nil {
		return nil, err
	}
	offsets := []int64{}
	for partition := range r.Partitions {
		offset, err := c.client.GetOffset(r.Topic, partition, time)
		if err != nil {
			return nil, err
		}
		offsets = append(offsets, offset)
	}
	return offsets, nil
}

func (c *saramaClient) alterConfigs(r *request) error {
	operations := map[string]sarama.IncrementalAlterConfigsOperation{
		"set":      sarama.IncrementalAlterConfigsOperationSet,
		"delete":   sarama.IncrementalAlterConfigsOperationDelete,
		"append":   sarama.IncrementalAlterConfigsOperationAppend,
		"subtract": sarama.IncrementalAlterConfigsOperationSubtract,
	}
	entries := map[string]sarama.IncrementalAlterConfigsEntry{}
	for _, change := range r.Changes {
		entries[change.Name] = sarama.IncrementalAlterConfigsEntry{Operation: operations[change.Op], Value: change.Value}
	}
	return c.admin.IncrementalAlterConfig(sarama.TopicResource, r.Topic, entries, false)
}

// describeCluster asks for the metadata itself: the library does not tell the id of the cluster.
func (c *saramaClient) describeCluster() (any, error) {
	controller, err := c.client.Controller()
	if err != nil {
		return nil, err
	}
	metadata, err := controller.GetMetadata(sarama.NewMetadataRequest(sarama.MaxVersion, []string{}))
	if err != nil {
		return nil, err
	}
	brokers := []object{}
	for _, broker := range metadata.Brokers {
		host, port, err := splitAddress(broker.Addr())
		if err != nil {
			return nil, err
		}
		brokers = append(brokers, object{"id": broker.ID(), "host": host, "port": port})
	}
	return object{"cluster_id": metadata.ClusterID, "brokers": brokers}, nil
}

// saramaCode gives the broker's error code, if it is one.
func saramaCode(err error) (int16, bool) {
	var code sarama.KError
	if errors.As(err, &code) {
		return int16(code), code > 0
	}
	var topic *sarama.TopicError
	if errors.As(err, &topic) {
		return int16(topic.Err), true
	}
	var partition *sarama.TopicPartitionError
	if errors.As(err, &partition) {
		return int16(partition.Err), true
	}
	return 0, false
}

func splitAddress(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	number, err := strconv.Atoi(port)
	return host, number, err
}
