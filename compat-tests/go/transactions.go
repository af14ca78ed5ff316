package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactions is where the transactions of tests/clients/transactions.rs take place.
type transactions struct{ bootstrap, topic, group, id string }

// transactor is a transactional producer of either library.
type transactor interface {
	// begin begins a transaction, writes a record, and commits an offset unless that is negative.
	begin(value string, offset int64) error
	end(commit bool) error
}

func runTransactions(library string, t transactions) {
	connect := t.franz
	if library == "sarama" {
		connect = t.sarama
	}
	if err := t.run(connect); err != nil {
		log.Fatal(err)
	}
	fmt.Println("done")
}

func (t transactions) run(connect func() (transactor, error)) error {
	first, err := connect()
	if err != nil {
		return err
	}
	transact := func(producer transactor, value string, offset int64, commit bool) error {
		if err := producer.begin(value, offset); err != nil {
			return err
		}
		return producer.end(commit)
	}
	for _, it := range []struct {
		value  string
		offset int64
		commit bool
	}{{"committed-0", 3, true}, {"aborted", 9, false}, {"committed-1", -1, true}} {
		if err := transact(first, it.value, it.offset, it.commit); err != nil {
			return fmt.Errorf("%s: %w", it.value, err)
		}
	}
	if err := first.begin("lost", -1); err != nil {
		return err
	}
	second, err := connect()
	if err != nil {
		return err
	}
	err = first.end(true)
	if err == nil {
		return errors.New("the first producer was not fenced")
	}
	isFenced := errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) ||
		errors.Is(err, sarama.ErrProducerFenced) || errors.Is(err, sarama.ErrInvalidProducerEpoch)
	if !isFenced {
		return fmt.Errorf("the first producer was refused otherwise: %w", err)
	}
	fmt.Println("fenced")
	return transact(second, "committed-2", -1, true)
}

type franzTransactor struct {
	transactions
	client *kgo.Client
}

func (t transactions) franz() (transactor, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(t.bootstrap), kgo.TransactionalID(t.id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	_, _, err = client.ProducerID(context.Background())
	return &franzTransactor{t, client}, err
}

func (f *franzTransactor) begin(value string, offset int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f.client.BeginTransaction(); err != nil {
		return err
	}
	record := &kgo.Record{Topic: f.topic, Partition: 0, Value: []byte(value)}
	if err := f.client.ProduceSync(ctx, record).FirstErr(); err != nil || offset < 0 {
		return err
	}
	return f.commitOffset(ctx, offset)
}

// commitOffset does what the library does for groups that it consumes itself.
func (f *franzTransactor) commitOffset(ctx context.Context, offset int64) error {
	id, epoch, err := f.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	add := kmsg.NewPtrAddOffsetsToTxnRequest()
	add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = f.id, id, epoch, f.group
	added, err := add.RequestWith(ctx, f.client)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("adding offsets: %w", err)
	}
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset = 0, offset
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = f.topic, []kmsg.TxnOffsetCommitRequestTopicPartition{partition}
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.ProducerID, commit.ProducerEpoch, commit.Group = f.id, id, epoch, f.group
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{topic}
	committed, err := commit.RequestWith(ctx, f.client)
	if err == nil {
		err = kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("committing offsets: %w", err)
	}
	return nil
}

func (f *franzTransactor) end(commit bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return f.client.EndTransaction(ctx, kgo.TransactionEndTry(commit))
}

type saramaTransactor struct {
	transactions
	producer sarama.SyncProducer
}

func (t transactions) sarama() (transactor, error) {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Transaction.ID = t.id
	config.Net.MaxOpenRequests = 1
	producer, err := sarama.NewSyncProducer([]string{t.bootstrap}, config)
	return &saramaTransactor{t, producer}, err
}

func (s *saramaTransactor) begin(value string, offset int64) error {
	if err := s.producer.BeginTxn(); err != nil {
		return err
	}
	message := &sarama.ProducerMessage{Topic: s.topic, Partition: 0, Value: sarama.StringEncoder(value)}
	if _, _, err := s.producer.SendMessage(message); err != nil || offset < 0 {
		return err
	}
	return s.producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{
		s.topic: {{Partition: 0, Offset: offset}},
	}, s.group)
}

func (s *saramaTransactor) end(commit bool) error {
	if commit {
		return s.producer.CommitTxn()
	}
	return s.producer.AbortTxn()
}
