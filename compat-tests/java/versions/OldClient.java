import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * The client program for older versions of Apache Kafka's own clients, in what all of 2.1 to 3.9 have: requests as JSON
 * lines in, answers as JSON lines out. The vocabulary is described in src/client.rs.
 */
public final class OldClient {
    private static final int TIMEOUT_MS = 50_000;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final AdminClient admin;

    private OldClient(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = AdminClient.create(Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", TIMEOUT_MS));
    }

    public static void main(String[] arguments) throws Exception {
        var program = new OldClient(arguments[0]);
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
    }

    private static ObjectNode describe(Exception failure) {
        Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
        Errors error = cause instanceof ApiException ? Errors.forException(cause) : Errors.UNKNOWN_SERVER_ERROR;
        var described = JSON.createObjectNode().put("message", String.valueOf(cause));
        return error.code() < 0 ? described.putNull("code") : described.put("code", error.code());
    }

    private Object handle(JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        switch (request.get("do").asText()) {
            case "version":
                return AppInfoParser.getVersion() + " (JVM " + Runtime.version() + ")";
            case "list-topics":
                return admin.listTopics().names().get();
            case "describe-topic":
                return describeTopic(topic);
            case "create-topic": {
                var configs = JSON.convertValue(request.get("configs"), HashMap.class);
                @SuppressWarnings("unchecked")
                var created = new NewTopic(topic, request.get("partitions").asInt(), (short) 1).configs(configs);
                return admin.createTopics(List.of(created)).all().get();
            }
            case "create-partitions": {
                var total = NewPartitions.increaseTo(request.get("total").asInt());
                return admin.createPartitions(Map.of(topic, total)).all().get();
            }
            case "delete-topic":
                return admin.deleteTopics(List.of(topic)).all().get();
            case "produce":
                return produce(topic, request);
            case "consume":
                return consume(topic, request);
            case "offsets":
                return offsets(topic, request);
            case "describe-configs":
                return describeConfigs(topic);
            case "delete-records": {
                var partition = new TopicPartition(topic, request.get("partition").asInt());
                var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
                return admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark();
            }
            case "describe-cluster":
                return describeCluster();
            default:
                throw new IllegalArgumentException("cannot do " + request);
        }
    }

    @SuppressWarnings("deprecation")
    private Object describeTopic(String topic) throws Exception {
        var description = admin.describeTopics(List.of(topic)).all().get().get(topic);
        return description.partitions().stream().sorted(Comparator.comparing(TopicPartitionInfo::partition))
            .map(partition -> Map.of(
                "leader", partition.leader() == null ? -1 : partition.leader().id(),
                "replicas", partition.replicas().stream().map(Node::id).toArray(),
                "isr", partition.isr().stream().map(Node::id).toArray())).toArray();
    }

    private Object produce(String topic, JsonNode request) throws Exception {
        var config = new HashMap<String, Object>();
        config.put("bootstrap.servers", bootstrap);
        config.put("compression.type", request.get("codec").asText());
        config.put("acks", request.get("acks").asText());
        config.put("enable.idempotence", request.get("idempotent").asBoolean());
        config.put("max.request.size", 100_000_000);
        config.put("buffer.memory", 200_000_000L);
        config.put("delivery.timeout.ms", TIMEOUT_MS);
        config.put("max.block.ms", TIMEOUT_MS);
        // The records of a request share batches.
        config.put("linger.ms", 20);
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            var sent = new ArrayList<Future<RecordMetadata>>();
            for (JsonNode each : request.get("records")) {
                Long timestamp = each.get("timestamp").isNull() ? null : each.get("timestamp").asLong();
                var record = new ProducerRecord<>(
                    topic, each.get("partition").asInt(), timestamp, bytes(each.get("key")), bytes(each.get("value")));
                for (JsonNode header : each.get("headers")) {
                    record.headers().add(header.get(0).asText(), bytes(header.get(1)));
                }
                sent.add(producer.send(record));
            }
            var offsets = new ArrayList<Long>();
            for (var future : sent) {
                offsets.add(future.get().offset());
            }
            return offsets;
        }
    }

    private static byte[] bytes(JsonNode base64) throws Exception {
        return base64.isNull() ? null : base64.binaryValue();
    }

    private Object consume(String topic, JsonNode request) {
        int count = request.get("count").asInt();
        try (var consumer = consumer()) {
            var assignment = partitions(topic, request);
            consumer.assign(assignment);
            consumer.seekToBeginning(assignment);
            ArrayNode records = JSON.createArrayNode();
            long deadline = System.currentTimeMillis() + TIMEOUT_MS;
            while (records.size() < count) {
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException(records.size() + " of " + count + " records came");
                }
                consumer.poll(Duration.ofMillis(100)).forEach(record -> records.add(json(record)));
            }
            return records;
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "none", "group.id", "none");
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static List<TopicPartition> partitions(String topic, JsonNode request) {
        var partitions = new ArrayList<TopicPartition>();
        IntStream.range(0, request.get("partitions").asInt()).forEach(id -> partitions.add(new TopicPartition(topic, id)));
        return partitions;
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
        var partitions = partitions(topic, request);
        try (var consumer = consumer()) {
            if (at.has("time")) {
                var times = new HashMap<TopicPartition, Long>();
                partitions.forEach(partition -> times.put(partition, at.get("time").asLong()));
                var found = consumer.offsetsForTimes(times);
                return partitions.stream()
                    .map(partition -> found.get(partition) == null ? -1 : found.get(partition).offset()).toArray();
            }
            var found = at.asText().equals("earliest") ? consumer.beginningOffsets(partitions) : consumer.endOffsets(partitions);
            return partitions.stream().map(found::get).toArray();
        }
    }

    private Object describeConfigs(String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var values = new HashMap<String, String>();
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            values.put(entry.name(), entry.value());
        }
        return values;
    }

    private Object describeCluster() throws Exception {
        var cluster = admin.describeCluster();
        Stream<Node> nodes = cluster.nodes().get().stream();
        var brokers = nodes.map(node -> Map.of("id", node.id(), "host", node.host(), "port", node.port())).toArray();
        return Map.of("cluster_id", cluster.clusterId().get(), "brokers", brokers);
    }
}
