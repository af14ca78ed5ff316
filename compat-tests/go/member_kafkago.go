package main

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaGo uses the library's ConsumerGroup, which shows the generations that its Reader hides.
func (m *member) kafkaGo(ctx context.Context) error {
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                m.Group,
		Brokers:           []string{m.Bootstrap},
		Topics:            []string{m.Topic},
		SessionTimeout:    m.session(),
		HeartbeatInterval: m.heartbeat(),
		JoinGroupBackoff:  100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer group.Close()
	for {
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			m.failed(err)
			continue
		}
		for _, assigned := range generation.Assignments[m.Topic] {
			m.gained([]int32{int32(assigned.ID)})
			generation.Start(func(ended context.Context) {
				defer m.gaveUp([]int32{int32(assigned.ID)})
				m.kafkaGoPartition(ended, generation, assigned)
			})
		}
	}
}

func (m *member) kafkaGoPartition(ended context.Context, generation *kafka.Generation, assigned kafka.PartitionAssignment) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:        []string{m.Bootstrap},
		Topic:          m.Topic,
		Partition:      assigned.ID,
		MaxWait:        100 * time.Millisecond,
		ReadBackoffMin: 10 * time.Millisecond,
		ReadBackoffMax: 100 * time.Millisecond,
	})
	defer reader.Close()
	if err := reader.SetOffset(assigned.Offset); err != nil {
		m.failed(err)
		return
	}
	for {
		record, err := reader.ReadMessage(ended)
		if ended.Err() != nil {
			return
		}
		if err != nil {
			m.failed(err)
			continue
		}
		m.read([2]int64{int64(record.Partition), record.Offset})
		end := record.Offset + 1
		if err := generation.CommitOffsets(map[string]map[int]int64{m.Topic: {record.Partition: end}}); err != nil {
			m.failed(err)
			continue
		}
		m.committed([2]int64{int64(record.Partition), end})
	}
}
