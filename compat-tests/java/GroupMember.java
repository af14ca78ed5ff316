import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * A group member of Apache Kafka's own consumer. The protocol is described in tests/clients/group_member.rs: options as
 * one JSON argument, events as JSON lines out, `stall` and `go` in, and the end of the input means to leave.
 */
public final class GroupMember implements ConsumerRebalanceListener {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration POLL = Duration.ofMillis(100);

    private final TreeSet<Integer> owned = new TreeSet<>();
    private boolean stalled;
    private boolean leaving;

    public static void main(String[] arguments) throws Exception {
        var member = new GroupMember();
        var listener = new Thread(member::listen);
        listener.setDaemon(true);
        listener.start();
        member.run(JSON.readTree(arguments[0]));
    }

    private void listen() {
        var input = new BufferedReader(new InputStreamReader(System.in));
        try {
            for (String line; (line = input.readLine()) != null; ) {
                set(line.equals("stall"), false);
            }
        } catch (IOException ended) {
            // As good as the end of the input.
        }
        set(false, true);
    }

    private synchronized void set(boolean stalled, boolean leaving) {
        this.stalled = stalled;
        this.leaving = leaving;
        notifyAll();
    }

    private synchronized boolean isLeaving() {
        return leaving;
    }

    private synchronized void waitWhileStalled() throws InterruptedException {
        while (stalled) {
            wait();
        }
    }

    private void run(JsonNode options) throws Exception {
        String topic = options.get("topic").asText();
        try (var consumer = new KafkaConsumer<>(config(options), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic), this);
            while (!isLeaving()) {
                var records = consumer.poll(POLL);
                if (records.isEmpty()) {
                    continue;
                }
                tellOf(records);
                waitWhileStalled();
                commit(consumer, records);
            }
        }
    }

    private static Map<String, Object> config(JsonNode options) {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", options.get("bootstrap").asText());
        config.put("group.id", options.get("group").asText());
        config.put("group.protocol", options.get("protocol").asText());
        config.put("max.poll.interval.ms", options.get("max_poll_ms").asInt());
        config.put("reconnect.backoff.max.ms", 100);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        if (options.hasNonNull("instance")) {
            config.put("group.instance.id", options.get("instance").asText());
        }
        if (options.get("protocol").asText().equals("classic")) {
            config.put("session.timeout.ms", options.get("session_ms").asInt());
            config.put("heartbeat.interval.ms", options.get("heartbeat_ms").asInt());
            config.put("partition.assignment.strategy", switch (options.get("assignor").asText()) {
                case "range" -> "org.apache.kafka.clients.consumer.RangeAssignor";
                case "cooperative-sticky" -> "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
                default -> throw new IllegalArgumentException("no assignor " + options.get("assignor"));
            });
        } else {
            config.put("group.remote.assignor", options.get("assignor").asText());
        }
        return config;
    }

    private static void tellOf(ConsumerRecords<byte[], byte[]> records) {
        var event = event();
        ArrayNode list = event.putArray("records");
        records.forEach(record -> list.addArray().add(record.partition()).add(record.offset()));
        tell(event);
    }

    private static void commit(KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
        ObjectNode event;
        try {
            var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
            records.forEach(record -> offsets.put(
                new TopicPartition(record.topic(), record.partition()), new OffsetAndMetadata(record.offset() + 1)));
            consumer.commitSync(offsets);
            event = event();
            ArrayNode list = event.putArray("committed");
            offsets.forEach((partition, end) -> list.addArray().add(partition.partition()).add(end.offset()));
        } catch (KafkaException failure) {
            event = event().put("failed", failure.toString());
        }
        tell(event);
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.add(partition.partition()));
        tellOwned();
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.remove(partition.partition()));
        tellOwned();
    }

    private void tellOwned() {
        var event = event();
        event.set("owns", JSON.valueToTree(owned));
        tell(event);
    }

    private static ObjectNode event() {
        return JSON.createObjectNode().put("at", System.currentTimeMillis());
    }

    private static void tell(ObjectNode event) {
        System.out.println(event);
    }
}
