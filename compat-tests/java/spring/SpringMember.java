import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.listener.BatchAcknowledgingMessageListener;
import org.springframework.kafka.listener.ConsumerAwareRebalanceListener;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.support.Acknowledgment;
import org.apache.kafka.clients.consumer.Consumer;

/**
 * A group member of Spring Kafka's listener container. The protocol is described in tests/clients/group_member.rs: options as
 * one JSON argument, events as JSON lines out, and the end of the input means to leave.
 */
public final class SpringMember
        implements ConsumerAwareRebalanceListener, BatchAcknowledgingMessageListener<byte[], byte[]> {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final TreeSet<Integer> owned = new TreeSet<>();

    public static void main(String[] arguments) throws Exception {
        var container = new SpringMember().container(JSON.readTree(arguments[0]));
        container.start();
        while (System.in.read() >= 0) {
            // Nothing is said before the end.
        }
        container.stop();
        System.exit(0);
    }

    private KafkaMessageListenerContainer<byte[], byte[]> container(JsonNode options) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", options.get("bootstrap").asText());
        config.put("group.id", options.get("group").asText());
        config.put("session.timeout.ms", options.get("session_ms").asInt());
        config.put("heartbeat.interval.ms", options.get("heartbeat_ms").asInt());
        config.put("max.poll.interval.ms", options.get("max_poll_ms").asInt());
        config.put("reconnect.backoff.max.ms", 100);
        config.put("auto.offset.reset", "earliest");
        var consumers = new DefaultKafkaConsumerFactory<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        var properties = new ContainerProperties(options.get("topic").asText());
        properties.setAckMode(ContainerProperties.AckMode.MANUAL_IMMEDIATE);
        properties.setPollTimeout(100);
        properties.setMessageListener(this);
        properties.setConsumerRebalanceListener(this);
        return new KafkaMessageListenerContainer<>(consumers, properties);
    }

    @Override
    public void onMessage(List<ConsumerRecord<byte[], byte[]>> records, Acknowledgment acknowledgment) {
        var ends = new TreeMap<Integer, Long>();
        records.forEach(record -> ends.put(record.partition(), record.offset() + 1));
        ObjectNode event = event();
        ArrayNode list = event.putArray("records");
        records.forEach(record -> list.addArray().add(record.partition()).add(record.offset()));
        tell(event);
        try {
            acknowledgment.acknowledge();
        } catch (KafkaException failure) {
            tell(event().put("failed", failure.toString()));
            return;
        }
        event = event();
        ArrayNode committed = event.putArray("committed");
        ends.forEach((partition, end) -> committed.addArray().add(partition).add(end));
        tell(event);
    }

    @Override
    public void onPartitionsAssigned(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.add(partition.partition()));
        tellOwned();
    }

    @Override
    public void onPartitionsRevokedAfterCommit(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.remove(partition.partition()));
        tellOwned();
    }

    @Override
    public void onPartitionsLost(Consumer<?, ?> consumer, Collection<TopicPartition> partitions) {
        partitions.forEach(partition -> owned.remove(partition.partition()));
        tellOwned();
    }

    private void tellOwned() {
        ObjectNode event = event();
        ArrayNode list = event.putArray("owns");
        owned.forEach(list::add);
        tell(event);
    }

    private static ObjectNode event() {
        return JSON.createObjectNode().put("at", System.currentTimeMillis());
    }

    private static synchronized void tell(ObjectNode event) {
        System.out.println(event);
    }
}
