package main

import (
	"context"
	"time"

	"github.com/IBM/sarama"
)

func (m *member) sarama(ctx context.Context) error {
	config := sarama.NewConfig()
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	// A commit waits behind the fetches of its connection.
	config.Consumer.MaxWaitTime = 20 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Consumer.Retry.Backoff = 100 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = m.session()
	config.Consumer.Group.Heartbeat.Interval = m.heartbeat()
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	group, err := sarama.NewConsumerGroup([]string{m.Bootstrap}, m.Group, config)
	if err != nil {
		return err
	}
	go func() {
		for err := range group.Errors() {
			m.failed(err)
		}
	}()
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{m.Topic}, (*saramaHandler)(m)); err != nil {
			m.failed(err)
			time.Sleep(100 * time.Millisecond)
		}
	}
	return group.Close()
}

// saramaHandler commits without telling: the library does not say whether a commit came through.
type saramaHandler member

func (h *saramaHandler) Setup(session sarama.ConsumerGroupSession) error {
	(*member)(h).gained(session.Claims()[h.Topic])
	return nil
}

func (h *saramaHandler) Cleanup(session sarama.ConsumerGroupSession) error {
	(*member)(h).gaveUp(session.Claims()[h.Topic])
	return nil
}

func (h *saramaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case record, more := <-claim.Messages():
			if !more {
				return nil
			}
			(*member)(h).read([2]int64{int64(record.Partition), record.Offset})
			session.MarkMessage(record, "")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}
