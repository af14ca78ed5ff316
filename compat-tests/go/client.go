package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type client struct {
	bootstrap string
	admin     *kadm.Client
}

type object = map[string]any

func newClient(bootstrap string) (handler, error) {
	base, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return nil, err
	}
	return &client{bootstrap, kadm.NewClient(base)}, nil
}

func (c *client) handle(ctx context.Context, r *request) (any, error) {
	switch r.Do {
	case "version":
		return versionOf("github.com/twmb/franz-go")
	case "list-topics":
		topics, err := c.admin.ListTopics(ctx)
		return topics.Names(), err
	case "describe-topic":
		return c.describeTopic(ctx, r)
	case "create-topic":
		response, err := c.admin.CreateTopic(ctx, r.Partitions, 1, r.Configs, r.Topic)
		return nil, first(err, response.Err)
	case "create-partitions":
		responses, err := c.admin.UpdatePartitions(ctx, r.Total, r.Topic)
		return nil, first(err, responses.Error())
	case "delete-topic":
		response, err := c.admin.DeleteTopic(ctx, r.Topic)
		return nil, first(err, response.Err)
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
	case "delete-records":
		before := kadm.Offsets{}
		before.AddOffset(r.Topic, r.Partition, r.Before, -1)
		responses, err := c.admin.DeleteRecords(ctx, before)
		if err := first(err, responses.Error()); err != nil {
			return nil, err
		}
		response, _ := responses.Lookup(r.Topic, r.Partition)
		return response.LowWatermark, nil
	case "describe-cluster":
		return c.describeCluster(ctx)
	case "log-dirs":
		return c.logDirs(ctx, r)
	case "producers":
		return c.producers(ctx, r)
	}
	return nil, fmt.Errorf("cannot do %s", r.Do)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *client) describeTopic(ctx context.Context, r *request) (any, error) {
	topics, err := c.admin.ListTopics(ctx, r.Topic)
	if err := first(err, topics.Error()); err != nil {
		return nil, err
	}
	partitions := []object{}
	for _, p := range topics[r.Topic].Partitions.Sorted() {
		partitions = append(partitions, object{"leader": p.Leader, "replicas": p.Replicas, "isr": p.ISR})
	}
	return partitions, nil
}

func (c *client) produce(ctx context.Context, r *request) (any, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[int]kgo.Acks{0: kgo.NoAck(), 1: kgo.LeaderAck(), -1: kgo.AllISRAcks()}
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(c.bootstrap, ",")...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[r.Codec]),
		kgo.RequiredAcks(acks[r.Acks]),
		kgo.ProducerBatchMaxBytes(50_000_000),
		kgo.BrokerMaxWriteBytes(60_000_000),
		// The records of a request share batches.
		kgo.ProducerLinger(20 * time.Millisecond),
	}
	if !r.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	records := make([]*kgo.Record, len(r.Records))
	for i, each := range r.Records {
		record := &kgo.Record{Topic: r.Topic, Partition: each.Partition, Key: each.Key, Value: each.Value}
		for _, h := range each.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
		}
		if each.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*each.Timestamp)
		}
		records[i] = record
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(records))
	for i, record := range records {
		offsets[i] = record.Offset
	}
	return offsets, nil
}

func (c *client) consume(ctx context.Context, r *request) (any, error) {
	assignment := map[int32]kgo.Offset{}
	for p := range r.Partitions {
		assignment[p] = kgo.NewOffset().AtStart()
	}
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(c.bootstrap, ",")...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: assignment}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records := []record{}
	for len(records) < r.Count {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records came: %w", len(records), r.Count, err)
		}
		fetches.EachRecord(func(fetched *kgo.Record) {
			millis := fetched.Timestamp.UnixMilli()
			headers := []header{}
			for _, h := range fetched.Headers {
				headers = append(headers, header{h.Key, h.Value})
			}
			records = append(records, record{
				fetched.Partition, &fetched.Offset, &millis, fetched.Key, fetched.Value, headers,
			})
		})
	}
	return records, nil
}

func (c *client) offsets(ctx context.Context, r *request) (any, error) {
	var at struct{ Time int64 }
	timed := json.Unmarshal(r.At, &at) == nil
	list := func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return c.admin.ListOffsetsAfterMilli(ctx, at.Time, topics...)
	}
	if !timed {
		list = map[string]func(context.Context, ...string) (kadm.ListedOffsets, error){
			`"earliest"`: c.admin.ListStartOffsets, `"latest"`: c.admin.ListEndOffsets,
			`"max-timestamp"`: c.admin.ListMaxTimestampOffsets,
		}[string(r.At)]
	}
	listed, err := list(ctx, r.Topic)
	if err := first(err, listed.Error()); err != nil {
		return nil, err
	}
	offsets := make([]int64, r.Partitions)
	for p := range r.Partitions {
		found, _ := listed.Lookup(r.Topic, p)
		offsets[p] = found.Offset
		if timed && found.Timestamp == -1 {
			// kadm answers "none" with the end of the log.
			offsets[p] = -1
		}
	}
	return offsets, nil
}

func (c *client) describeConfigs(ctx context.Context, r *request) (any, error) {
	described, err := c.admin.DescribeTopicConfigs(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	resource, err := described.On(r.Topic, nil)
	if err := first(err, resource.Err); err != nil {
		return nil, err
	}
	values := map[string]*string{}
	for _, config := range resource.Configs {
		values[config.Key] = config.Value
	}
	return values, nil
}

func (c *client) alterConfigs(ctx context.Context, r *request) error {
	operations := map[string]kadm.IncrementalOp{
		"set": kadm.SetConfig, "append": kadm.AppendConfig, "subtract": kadm.SubtractConfig, "delete": kadm.DeleteConfig,
	}
	var configs []kadm.AlterConfig
	for _, each := range r.Changes {
		configs = append(configs, kadm.AlterConfig{Op: operations[each.Op], Name: each.Name, Value: each.Value})
	}
	responses, err := c.admin.AlterTopicConfigs(ctx, configs, r.Topic)
	if err != nil {
		return err
	}
	response, err := responses.On(r.Topic, nil)
	return first(err, response.Err)
}

func (c *client) describeCluster(ctx context.Context) (any, error) {
	metadata, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	brokers := []object{}
	for _, b := range metadata.Brokers {
		brokers = append(brokers, object{"id": b.NodeID, "host": b.Host, "port": b.Port})
	}
	return object{"cluster_id": metadata.Cluster, "brokers": brokers}, nil
}

func (c *client) logDirs(ctx context.Context, r *request) (any, error) {
	described, err := c.admin.DescribeAllLogDirs(ctx, nil)
	var partitions []kadm.DescribedLogDirPartition
	described.Each(func(dir kadm.DescribedLogDir) {
		err = first(err, dir.Err)
		dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == r.Topic {
				partitions = append(partitions, p)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(partitions, func(a, b kadm.DescribedLogDirPartition) int { return int(a.Partition - b.Partition) })
	sizes := []int64{}
	for _, p := range partitions {
		sizes = append(sizes, p.Size)
	}
	return sizes, nil
}

func (c *client) producers(ctx context.Context, r *request) (any, error) {
	var where kadm.TopicsSet
	where.Add(r.Topic, r.Partition)
	described, err := c.admin.DescribeProducers(ctx, where)
	if err != nil {
		return nil, err
	}
	producers := []object{}
	for _, p := range described.SortedProducers() {
		producers = append(producers, object{
			"producer_id": p.ProducerID, "epoch": p.ProducerEpoch, "last_sequence": p.LastSequence,
		})
	}
	return producers, nil
}
