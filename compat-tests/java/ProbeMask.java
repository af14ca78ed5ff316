import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.Errors;

/**
 * Turns an answer into lines `path = value` that two brokers of like behaviour print alike: addresses, ids, directories
 * and the current time are replaced by words, as are texts, lists without meaning in their order are sorted.
 */
final class ProbeMask {
    private static final Set<String> PLACES = Set.of("host", "port", "clusterId", "logDir", "totalBytes", "usableBytes",
        "finalizedFeaturesEpoch", "logEndOffset", "replicaDirectoryId");
    /** What they say is each broker's own; whether they say anything is compared. */
    private static final Set<String> TEXTS = Set.of("documentation", "errorMessage", "batchIndexErrorMessage");
    /** Fields that name an element, so that another one more or less does not shift all that follow. */
    private static final Set<String> LABELS = Set.of(
        "name", "resourceName", "topicName", "topic", "topicId", "partitionIndex", "partition", "index", "baseOffset",
        "groupId", "memberId");
    /** The ids of members that a broker gives: a client or instance id and a UUID, or a UUID in base64. */
    private static final Pattern MEMBER = Pattern.compile("(probe|i1)-[0-9a-f-]{36}|[\\w-]{22}");
    private static final long CLOSE_MS = 10 * 60_000;
    /** A time that is further away is one of the script, which says by how much. */
    private static final long SCRIPT_MS = 24 * 3_600_000;

    private final long start = System.currentTimeMillis();
    private final Map<String, String> topicNames = new HashMap<>();
    private final Map<Long, Integer> producers = new HashMap<>();
    private final Map<String, Integer> members = new HashMap<>();

    /** Milliseconds since 1970 when this run began. */
    long start() {
        return start;
    }

    void nameTopic(String id, String name) {
        topicNames.put(id, name);
    }

    List<String> lines(JsonNode answer) {
        learnTopics(answer);
        var lines = new ArrayList<String>();
        flatten("", "", answer, lines);
        return lines;
    }

    /** Takes the ids of topics from wherever they stand beside a name. */
    private void learnTopics(JsonNode node) {
        JsonNode name = node.has("name") ? node.get("name") : node.path("topicName");
        if (node.has("topicId") && !name.asText("").isEmpty()) {
            topicNames.putIfAbsent(node.get("topicId").asText(), name.asText());
        }
        node.forEach(this::learnTopics);
    }

    private void flatten(String path, String name, JsonNode node, List<String> lines) {
        if (node.isObject()) {
            boolean isQuorum = node.has("currentVoters");
            node.properties().forEach(field -> {
                String key = field.getKey();
                // How long the metadata log is, and how often it was led, is the broker's; of partitions it is compared.
                boolean own = isQuorum && (key.equals("highWatermark") || key.equals("leaderEpoch"));
                String kind = own ? "logEndOffset" : key;
                flatten(path.isEmpty() ? key : path + "." + key, kind, field.getValue(), lines);
            });
        } else if (name.equals("apiKeys")) {
            lines.add(path + " = " + versions(node));
        } else if (node.isArray() && node.path(0).isObject()) {
            flattenList(path, node, !name.equals("records"), lines);
        } else {
            lines.add(path + " = " + masked(name, node));
        }
    }

    /** All served APIs in one line, as `key: min-max`. */
    private static String versions(JsonNode apis) {
        var ranges = new TreeMap<Integer, String>();
        apis.forEach(api -> ranges.put(api.get("apiKey").asInt(), api.get("minVersion") + "-" + api.get("maxVersion")));
        return ranges.toString();
    }

    private void flattenList(String path, JsonNode list, boolean sorted, List<String> lines) {
        var elements = new ArrayList<List<String>>();
        for (JsonNode element : list) {
            // Configs of our own say nothing about those of Apache Kafka.
            if (element.path("name").asText().startsWith("ottla.")) {
                continue;
            }
            var printed = new ArrayList<String>();
            flatten("", "", element, printed);
            elements.add(printed);
        }
        if (sorted) {
            elements.sort(Comparator.comparing(element -> String.join("\n", element)));
        }
        var seen = new HashMap<String, Integer>();
        for (List<String> element : elements) {
            String label = element.stream().filter(ProbeMask::isLabel).findFirst()
                .map(line -> line.substring(line.indexOf(" = ") + " = ".length())).orElse("");
            int times = seen.merge(label, 1, Integer::sum);
            String place = label.isEmpty() || times > 1 ? label + "#" + (times - 1) : label;
            element.forEach(line -> lines.add(path + "[" + place + "]." + line));
        }
    }

    /** Whether a line tells which element of a list it belongs to. */
    private static boolean isLabel(String line) {
        return LABELS.contains(line.substring(0, line.indexOf(" = ")));
    }

    private String masked(String name, JsonNode value) {
        if (name.equals("errorCode")) {
            return value.asInt() + " " + Errors.forCode((short) value.asInt());
        }
        if (PLACES.contains(name) && !value.isNull() && !value.asText().equals("-1")) {
            return "<" + name + ">";
        }
        if (name.equals("topicId")) {
            return topic(value.asText());
        }
        if (name.equals("producerId") && value.asLong() >= 0) {
            return "<producer " + producers.computeIfAbsent(value.asLong(), id -> producers.size() + 1) + ">";
        }
        if ((name.equals("memberId") || name.equals("leader")) && MEMBER.matcher(value.asText()).matches()) {
            return "<member " + members.computeIfAbsent(value.asText(), id -> members.size() + 1) + ">";
        }
        if (name.equals("sessionId") && value.asInt() != 0) {
            return "<session>";
        }
        if (TEXTS.contains(name) && value.isTextual() && !value.asText().isEmpty()) {
            return "<text>";
        }
        if (value.isIntegralNumber() && Math.abs(value.asLong() - start) < CLOSE_MS) {
            return "<now>";
        }
        if (value.isIntegralNumber() && Math.abs(value.asLong() - start) < SCRIPT_MS) {
            return "<now " + (value.asLong() - start) + ">";
        }
        String text = value.toString();
        for (var topic : topicNames.entrySet()) {
            text = text.replace(topic.getKey(), "<id of " + topic.getValue() + ">");
        }
        return text;
    }

    private String topic(String id) {
        if (id.equals(Uuid.ZERO_UUID.toString())) {
            return "<no id>";
        }
        return "<id of " + topicNames.getOrDefault(id, "an unknown topic") + ">";
    }
}
