import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaAdmin;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.support.SendResult;
import org.springframework.kafka.support.TopicPartitionOffset;

/**
 * The client program for Spring Kafka, by its admin, template and listener container: requests as JSON lines in, answers as
 * JSON lines out. The vocabulary is described in src/client.rs.
 */
public final class SpringClient {
    private static final int TIMEOUT_MS = 50_000;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final KafkaAdmin admin;

    private SpringClient(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = new KafkaAdmin(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) throws Exception {
        var program = new SpringClient(arguments[0]);
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            var answer = JSON.createObjectNode();
            try {
                answer.set("ok", JSON.valueToTree(program.handle(JSON.readTree(line))));
            } catch (Exception failure) {
                answer.set("error", describe(failure));
            }
            System.out.println(JSON.writeValueAsString(answer));
        }
        System.exit(0);
    }

    /** The broker's error, below the wrappers that Spring puts around it. */
    private static ObjectNode describe(Exception failure) {
        var described = JSON.createObjectNode().put("message", String.valueOf(failure)).putNull("code");
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof ApiException && Errors.forException(cause).code() > 0) {
                return described.put("code", Errors.forException(cause).code());
            }
        }
        return described;
    }

    private Object handle(JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        switch (request.get("do").asText()) {
            case "version":
                return KafkaTemplate.class.getPackage().getImplementationVersion();
            case "describe-topic":
                return describeTopic(topic);
            case "create-topic": {
                var configs = new HashMap<String, String>();
                request.get("configs").properties().forEach(config -> configs.put(config.getKey(), config.getValue().asText()));
                admin.createOrModifyTopics(new NewTopic(topic, request.get("partitions").asInt(), (short) 1).configs(configs));
                return null;
            }
            case "produce":
                return produce(topic, request);
            case "consume":
                return consume(topic, request.get("partitions").asInt(), request.get("count").asInt());
            case "offsets":
                return offsets(topic, request);
            default:
                throw new IllegalArgumentException("cannot do " + request);
        }
    }

    private Object describeTopic(String topic) {
        return admin.describeTopics(topic).get(topic).partitions().stream()
            .sorted(Comparator.comparing(TopicPartitionInfo::partition))
            .map(partition -> Map.of(
                "leader", partition.leader() == null ? -1 : partition.leader().id(),
                "replicas", partition.replicas().stream().map(Node::id).toList(),
                "isr", partition.isr().stream().map(Node::id).toList())).toList();
    }

    private Object produce(String topic, JsonNode request) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap,
            "compression.type", request.get("codec").asText(),
            "acks", request.get("acks").asText(),
            "enable.idempotence", request.get("idempotent").asBoolean(),
            "max.request.size", 100_000_000,
            "buffer.memory", 200_000_000L,
            "delivery.timeout.ms", TIMEOUT_MS,
            "max.block.ms", TIMEOUT_MS,
            // The records of a request share batches.
            "linger.ms", 20);
        var factory = new DefaultKafkaProducerFactory<>(config, new ByteArraySerializer(), new ByteArraySerializer());
        try {
            var template = new KafkaTemplate<>(factory);
            var sent = new ArrayList<CompletableFuture<SendResult<byte[], byte[]>>>();
            for (JsonNode each : request.get("records")) {
                Long timestamp = each.get("timestamp").isNull() ? null : each.get("timestamp").asLong();
                var record = new ProducerRecord<>(
                    topic, each.get("partition").asInt(), timestamp, bytes(each.get("key")), bytes(each.get("value")));
                for (JsonNode header : each.get("headers")) {
                    record.headers().add(header.get(0).asText(), bytes(header.get(1)));
                }
                sent.add(template.send(record));
            }
            var offsets = new ArrayList<Long>();
            for (var future : sent) {
                offsets.add(future.get().getRecordMetadata().offset());
            }
            return offsets;
        } finally {
            factory.destroy();
        }
    }

    private static byte[] bytes(JsonNode base64) throws Exception {
        return base64.isNull() ? null : base64.binaryValue();
    }

    private DefaultKafkaConsumerFactory<byte[], byte[]> consumers() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "none", "group.id", "none");
        return new DefaultKafkaConsumerFactory<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Object consume(String topic, int partitions, int count) throws Exception {
        var from = IntStream.range(0, partitions)
            .mapToObj(id -> new TopicPartitionOffset(topic, id, TopicPartitionOffset.SeekPosition.BEGINNING))
            .toArray(TopicPartitionOffset[]::new);
        var read = new LinkedBlockingQueue<ConsumerRecord<byte[], byte[]>>();
        var properties = new ContainerProperties(from);
        properties.setAckMode(ContainerProperties.AckMode.MANUAL);
        properties.setMessageListener((MessageListener<byte[], byte[]>) read::add);
        var container = new KafkaMessageListenerContainer<>(consumers(), properties);
        container.start();
        try {
            ArrayNode records = JSON.createArrayNode();
            while (records.size() < count) {
                var record = read.poll(TIMEOUT_MS, TimeUnit.MILLISECONDS);
                if (record == null) {
                    throw new IllegalStateException(records.size() + " of " + count + " records came");
                }
                records.add(json(record));
            }
            return records;
        } finally {
            container.stop();
        }
    }

    private static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
        var object = JSON.createObjectNode()
            .put("partition", record.partition())
            .put("offset", record.offset())
            .put("timestamp", record.timestamp())
            .put("key", record.key())
            .put("value", record.value());
        ArrayNode headers = object.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return object;
    }

    private Object offsets(String topic, JsonNode request) {
        JsonNode at = request.get("at");
        var partitions = IntStream.range(0, request.get("partitions").asInt())
            .mapToObj(id -> new TopicPartition(topic, id)).toList();
        try (var consumer = consumers().createConsumer()) {
            if (at.has("time")) {
                var times = new HashMap<TopicPartition, Long>();
                partitions.forEach(partition -> times.put(partition, at.get("time").asLong()));
                var found = consumer.offsetsForTimes(times);
                return partitions.stream()
                    .map(partition -> found.get(partition) == null ? -1 : found.get(partition).offset()).toList();
            }
            var found = at.asText().equals("earliest") ? consumer.beginningOffsets(partitions) : consumer.endOffsets(partitions);
            return partitions.stream().map(found::get).toList();
        }
    }
}
