import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;

/**
 * Asks the nodes of a cluster: NodesProbe BOOTSTRAP,…, the addresses of nodes 1, 2 and so on. Each line of its input is a
 * question, answered by lines and a line with a dot:
 *
 *   ask NODE REQUEST VERSION BODY   the answer to a request, as ProbeSchema takes it: one field per line, with all texts
 *   state NODE TOPIC                how the node sees the partitions of a topic, one per line: what Metadata and
 *                                   DescribeTopicPartitions say, which have to agree
 *   brokers NODE                    the brokers that the node knows to live
 *   forget NODE                     the connection to the node is gone
 *
 * A node that does not answer is a line "(no answer)".
 */
public final class NodesProbe {
    private static final ObjectMapper JSON = JsonMapper.builder()
        .enable(JsonReadFeature.ALLOW_UNQUOTED_FIELD_NAMES, JsonReadFeature.ALLOW_SINGLE_QUOTES).build();

    /** Fields that other scripts compare, or that depend on time. */
    private static final Set<String> LEFT_OUT = Set.of("throttleTimeMs", "configs");

    private final List<String> addresses;
    private final Map<Integer, ProbeConnection> connections = new HashMap<>();

    private NodesProbe(List<String> addresses) {
        this.addresses = addresses;
    }

    public static void main(String[] arguments) throws Exception {
        var probe = new NodesProbe(List.of(arguments[0].split(",")));
        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            probe.answer(line).forEach(System.out::println);
            System.out.println(".");
        }
    }

    private List<String> answer(String line) throws Exception {
        String[] words = line.split(" ", 5);
        int node = Integer.parseInt(words[1]);
        switch (words[0]) {
            case "state":
                return state(node, words[2]);
            case "brokers":
                JsonNode metadata = ask(node, ApiKeys.METADATA, (short) 12, JSON.readTree("{topics: []}"));
                return List.of(metadata == null ? "(no answer)" : "cluster " + brokers(metadata));
            case "forget":
                connections.remove(node);
                return List.of();
            default:
                break;
        }
        JsonNode body = JSON.readTree(words.length < 5 ? "{}" : words[4]);
        JsonNode answer = ask(node, ProbeSchema.api(words[2]), Short.parseShort(words[3]), body);
        var lines = new ArrayList<String>();
        if (answer == null) {
            lines.add("(no answer)");
        } else {
            flatten("", answer, lines);
        }
        return lines;
    }

    /** The answer of a node; null if it gives none. */
    private JsonNode ask(int node, ApiKeys api, short version, JsonNode body) throws Exception {
        try {
            var connection = connections.get(node);
            if (connection == null || connection.isClosed()) {
                connection = new ProbeConnection(addresses.get(node - 1));
                connections.put(node, connection);
            }
            connection.send(api, version, body, true);
            JsonNode answer = connection.receive();
            if (answer == null) {
                connections.remove(node);
            }
            return answer;
        } catch (IOException gone) {
            connections.remove(node);
            return null;
        }
    }

    private static void flatten(String path, JsonNode node, List<String> lines) {
        if (node.isObject()) {
            node.properties().forEach(field -> {
                String name = field.getKey();
                if (!LEFT_OUT.contains(name)) {
                    flatten(path.isEmpty() ? name : path + "." + name, field.getValue(), lines);
                }
            });
        } else if (node.isArray() && node.path(0).isObject()) {
            var elements = new TreeMap<String, JsonNode>();
            for (JsonNode element : node) {
                elements.put(label(element), element);
            }
            elements.forEach((label, element) -> flatten(path + "[" + label + "]", element, lines));
        } else if (path.endsWith("rrorCode")) {
            lines.add(path + " = " + Errors.forCode((short) node.asInt()));
        } else if (path.endsWith("topicId")) {
            lines.add(path + " = <id>");
        } else {
            lines.add(path + " = " + node);
        }
    }

    /** What tells an element of a list from the others. */
    private static String label(JsonNode element) {
        for (String name : List.of("name", "topicName", "topic", "partitionIndex", "partitionId", "resourceName")) {
            if (element.has(name)) {
                return element.get(name).asText();
            }
        }
        return element.toString();
    }

    private List<String> state(int node, String topic) throws Exception {
        var named = JSON.createObjectNode();
        named.putArray("topics").addObject().put("name", topic);
        JsonNode described = ask(node, ApiKeys.DESCRIBE_TOPIC_PARTITIONS, (short) 0, named);
        var request = named.deepCopy().put("allowAutoTopicCreation", false);
        JsonNode metadata = ask(node, ApiKeys.METADATA, (short) 12, request);
        if (described == null || metadata == null) {
            return List.of("(no answer)");
        }
        JsonNode one = described.get("topics").get(0);
        JsonNode other = metadata.get("topics").get(0);
        if (one.get("errorCode").asInt() != 0 || other.get("errorCode").asInt() != 0) {
            return List.of("error " + Errors.forCode((short) other.get("errorCode").asInt()));
        }
        var lines = new TreeMap<Integer, String>();
        for (JsonNode partition : one.get("partitions")) {
            int index = partition.get("partitionIndex").asInt();
            lines.put(index, partition(partition) + " eligible=" + ids(partition, "eligibleLeaderReplicas", true)
                + " last=" + ids(partition, "lastKnownElr", true) + " " + brokers(metadata));
            for (JsonNode same : other.get("partitions")) {
                if (same.get("partitionIndex").asInt() == index && !partition(same).equals(partition(partition))) {
                    lines.put(index, "Metadata " + partition(same) + " DescribeTopicPartitions " + partition(partition));
                }
            }
        }
        return lines.entrySet().stream().map(line -> topic + "-" + line.getKey() + " " + line.getValue()).toList();
    }

    private static String brokers(JsonNode metadata) {
        var brokers = new TreeSet<Integer>();
        metadata.get("brokers").forEach(broker -> brokers.add(broker.get("nodeId").asInt()));
        return "brokers=" + brokers.stream().map(String::valueOf).collect(Collectors.joining(","));
    }

    private static String partition(JsonNode partition) {
        return "leader=" + partition.get("leaderId").asInt() + " epoch=" + partition.get("leaderEpoch").asInt()
            + " replicas=" + ids(partition, "replicaNodes", false) + " isr=" + ids(partition, "isrNodes", true)
            + " offline=" + ids(partition, "offlineReplicas", true);
    }

    private static String ids(JsonNode partition, String name, boolean sorted) {
        var ids = new ArrayList<Integer>();
        partition.get(name).forEach(id -> ids.add(id.asInt()));
        if (sorted) {
            ids.sort(null);
        }
        return ids.isEmpty() ? "none" : ids.stream().map(String::valueOf).collect(Collectors.joining(","));
    }
}
