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
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * The client program for Apache Kafka's own clients: requests as JSON lines in, answers as JSON lines out.
 * The vocabulary is described in src/client.rs.
 */
public final class ClientProgram {
    private static final int TIMEOUT_MS = 50_000;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final Admin admin;

    private ClientProgram(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "default.api.timeout.ms", TIMEOUT_MS));
    }

    public static void main(String[] arguments) throws Exception {
        var program = new ClientProgram(arguments[0]);
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
        return error == Errors.UNKNOWN_SERVER_ERROR ? described.putNull("code") : described.put("code", error.code());
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
                return consume(topic, request.get("partitions").asInt(), request.get("count").asInt());
            case "offsets":
                return offsets(topic, request);
            case "describe-configs":
                return describeConfigs(topic);
            case "alter-configs":
                return alterConfigs(topic, request.get("changes"));
            case "delete-records": {
                var partition = new TopicPartition(topic, request.get("partition").asInt());
                var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
                return admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark();
            }
            case "describe-cluster":
                return describeCluster();
            case "log-dirs":
                return logDirs(topic);
            case "producers": {
                var partition = new TopicPartition(topic, request.get("partition").asInt());
                var active = admin.describeProducers(List.of(partition)).partitionResult(partition).get();
                return active.activeProducers().stream().map(producer -> Map.of(
                    "producer_id", producer.producerId(),
                    "epoch", producer.producerEpoch(),
                    "last_sequence", producer.lastSequence())).toList();
            }
            default:
                throw new IllegalArgumentException("cannot do " + request);
        }
    }

    private Object describeTopic(String topic) throws Exception {
        var description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        return description.partitions().stream().map(partition -> Map.of(
            "leader", partition.leader().id(),
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

    private Object consume(String topic, int partitions, int count) {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var assignment = IntStream.range(0, partitions).mapToObj(id -> new TopicPartition(topic, id)).toList();
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

    private Object offsets(String topic, JsonNode request) throws Exception {
        JsonNode at = request.get("at");
        OffsetSpec spec = switch (at.asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max-timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(at.get("time").asLong());
        };
        var wanted = new HashMap<TopicPartition, OffsetSpec>();
        for (int partition = 0; partition < request.get("partitions").asInt(); partition++) {
            wanted.put(new TopicPartition(topic, partition), spec);
        }
        var offsets = new TreeMap<Integer, Long>();
        admin.listOffsets(wanted).all().get().forEach((partition, found) -> offsets.put(partition.partition(), found.offset()));
        return offsets.values();
    }

    private Object describeConfigs(String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var values = new HashMap<String, String>();
        for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
            values.put(entry.name(), entry.value());
        }
        return values;
    }

    private Object alterConfigs(String topic, JsonNode changes) throws Exception {
        var operations = new ArrayList<AlterConfigOp>();
        for (JsonNode change : changes) {
            var value = change.has("value") ? change.get("value").asText() : null;
            var operation = AlterConfigOp.OpType.valueOf(change.get("op").asText().toUpperCase());
            operations.add(new AlterConfigOp(new ConfigEntry(change.get("name").asText(), value), operation));
        }
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.incrementalAlterConfigs(Map.of(resource, operations)).all().get();
    }

    private Object describeCluster() throws Exception {
        var cluster = admin.describeCluster();
        var brokers = cluster.nodes().get().stream().map(node -> Map.of(
            "id", node.id(), "host", node.host(), "port", node.port())).toList();
        return Map.of("cluster_id", cluster.clusterId().get(), "brokers", brokers);
    }

    private Object logDirs(String topic) throws Exception {
        var brokers = admin.describeCluster().nodes().get().stream().map(Node::id).toList();
        return admin.describeLogDirs(brokers).allDescriptions().get().values().stream()
            .flatMap(dirs -> dirs.values().stream())
            .flatMap(dir -> dir.replicaInfos().entrySet().stream())
            .filter(replica -> replica.getKey().topic().equals(topic))
            .sorted(Comparator.comparing(replica -> replica.getKey().partition()))
            .map(replica -> replica.getValue().size())
            .toList();
    }
}
