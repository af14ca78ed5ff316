package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func (m *member) franzGo(ctx context.Context) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(m.Bootstrap),
		kgo.ConsumerGroup(m.Group),
		kgo.ConsumeTopics(m.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(m.session()),
		kgo.HeartbeatInterval(m.heartbeat()),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.gained(partitions[m.Topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.gaveUp(partitions[m.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			m.gaveUp(partitions[m.Topic])
		}),
	}
	if m.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		m.franzGoPoll(ctx, client)
		client.AllowRebalance()
	}
	return nil
}

func (m *member) franzGoPoll(ctx context.Context, client *kgo.Client) {
	fetches := client.PollFetches(ctx)
	if err := fetches.Err0(); err != nil {
		return
	}
	fetches.EachError(func(_ string, _ int32, err error) { m.failed(err) })
	records := fetches.Records()
	if len(records) == 0 {
		return
	}
	var pairs, ends [][2]int64
	for _, record := range records {
		pairs = append(pairs, [2]int64{int64(record.Partition), record.Offset})
		ends = append(ends, [2]int64{int64(record.Partition), record.Offset + 1})
	}
	m.read(pairs...)
	// What was read is committed, also when it is time to leave.
	if err := client.CommitRecords(context.Background(), records...); err != nil {
		m.failed(err)
		return
	}
	m.committed(ends...)
}
