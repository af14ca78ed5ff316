import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.apache.kafka.common.protocol.ApiKeys;

/**
 * Sends the requests of a script to a broker and prints the answers, one field per line, with what may differ between
 * two brokers masked (ProbeMask): Probe BOOTSTRAP FILE….
 *
 * A script is a list of steps, separated by blank lines; `#` begins a comment line:
 *
 *   == what this step shows
 *   ListOffsets 1-11 on second as found until offset = 3
 *   {topics: [{name: 'a', partitions: [{partitionIndex: 0, timestamp: -1}]}]}
 *
 * The request is named as in the protocol; versions are a list of numbers and ranges, or `*` for all that this Kafka
 * knows, each sent in turn. The body is JSON with the protocol's field names; a field left out has its default, one
 * that a version does not have is left out (ProbeSchema). `records` fields are lists of batches (ProbeRecords).
 *
 *   on NAME         use the connection of that name
 *   as NAME         keep the answer: `'$NAME.field'` in a later body is replaced by that field of it
 *   until TEXT      ask again until the answer contains TEXT, the rest of the line (or for ten seconds)
 *   later           send, but read nothing; a later step `Await on NAME` prints the answer
 *   silent          send; no answer is due
 *   without FIELD   do not print fields of that name
 *   for X=A,B       the step is there once with A and once with B in place of `%X`; if they are `1:2`, `%X.0` is the 1.
 *                   Of several such, each with each
 *
 * `'$id.TOPIC'` is the id of a topic, `'$now'` and `'$now-1000'` a time. Two steps are not requests of the protocol:
 * `Raw` sends {key, version, body: 'hex'} with a header of version 1 and prints the answer in hex, and `Settle` waits
 * until the partitions of the topics in its body can be used, the `groups` in it have a coordinator, and the topics in
 * its list `gone` are no longer known.
 */
public final class Probe {
    private static final ObjectMapper JSON = JsonMapper.builder()
        .enable(JsonReadFeature.ALLOW_UNQUOTED_FIELD_NAMES, JsonReadFeature.ALLOW_SINGLE_QUOTES,
            JsonReadFeature.ALLOW_TRAILING_COMMA)
        .build();
    private static final long PATIENCE_MS = 10_000;

    private final String bootstrap;
    private final Map<String, ProbeConnection> connections = new HashMap<>();
    private final Map<String, JsonNode> kept = new HashMap<>();
    private final ProbeMask mask = new ProbeMask();

    private Probe(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] arguments) throws Exception {
        var probe = new Probe(arguments[0]);
        for (String file : List.of(arguments).subList(1, arguments.length)) {
            for (Step step : Step.parse(Files.readAllLines(Path.of(file)))) {
                try {
                    probe.run(step);
                } catch (RuntimeException | ReflectiveOperationException failure) {
                    throw new IllegalStateException("in step: " + step.name, failure);
                }
            }
        }
    }

    private void run(Step step) throws Exception {
        JsonNode body = substituted(step.body);
        switch (step.request) {
            case "Settle":
                settle(step, body);
                return;
            case "Await":
                print(step.name, show(connection(step).receive()));
                return;
            case "Raw":
                print(step.name, raw(connection(step), body));
                return;
            default:
                break;
        }
        ApiKeys api = ProbeSchema.api(step.request);
        List<Integer> versions = step.versions(api);
        for (int version : versions) {
            String name = versions.size() == 1 ? step.name : step.name + " [v" + version + "]";
            if (step.later || step.silent) {
                connection(step).send(api, (short) version, body, step.later);
            } else {
                print(name, shown(step, ask(step, api, (short) version, body)));
            }
        }
    }

    /** Sends the request, again and again if the step says so, and gives the lines of the last answer. */
    private List<String> ask(Step step, ApiKeys api, short version, JsonNode body) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            var connection = connection(step);
            connection.send(api, version, body, true);
            JsonNode answer = connection.receive();
            if (step.keepAs != null) {
                kept.put(step.keepAs, answer);
            }
            List<String> lines = show(answer);
            if (step.until == null || System.currentTimeMillis() > deadline
                    || lines.stream().anyMatch(line -> line.contains(step.until))) {
                return lines;
            }
            Thread.sleep(10);
        }
    }

    private List<String> show(JsonNode answer) {
        return answer == null ? List.of("(no answer)") : mask.lines(answer);
    }

    /** The lines without those of the fields that the step leaves out. */
    private static List<String> shown(Step step, List<String> lines) {
        return lines.stream().filter(line -> step.without == null || !line.contains("." + step.without + " = ") && !line.startsWith(step.without + " = ")).toList();
    }

    private static void print(String name, List<String> lines) {
        System.out.println("== " + name);
        lines.forEach(System.out::println);
    }

    private List<String> raw(ProbeConnection connection, JsonNode body) throws IOException {
        byte[] bytes = HexFormat.of().parseHex(body.path("body").asText());
        ByteBuffer answer = connection.exchangeRaw((short) body.get("key").asInt(), (short) body.get("version").asInt(), bytes);
        return answer == null
            ? List.of("(no answer)")
            : List.of("answer = " + HexFormat.of().formatHex(answer.array()));
    }

    /** The connection of that name, made anew if the broker has closed it. */
    private ProbeConnection connection(Step step) throws IOException {
        var connection = connections.get(step.connection);
        if (connection == null || connection.isClosed()) {
            connection = new ProbeConnection(bootstrap);
            connections.put(step.connection, connection);
        }
        return connection;
    }

    private void settle(Step step, JsonNode body) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        try (var connection = new ProbeConnection(bootstrap)) {
            for (JsonNode topic : body.path("topics")) {
                while (!usable(connection, topic.asText())) {
                    pause(deadline, step, "never usable: " + topic);
                }
            }
            for (JsonNode group : body.path("groups")) {
                while (!coordinated(connection, group)) {
                    pause(deadline, step, "never coordinated: " + group);
                }
            }
            for (JsonNode topic : body.path("gone")) {
                while (metadata(connection, topic.asText()).get("errorCode").asInt() == 0) {
                    pause(deadline, step, "never gone: " + topic);
                }
            }
        }
    }

    private static void pause(long deadline, Step step, String trouble) throws InterruptedException {
        if (System.currentTimeMillis() > deadline) {
            throw new IllegalStateException(step.name + ": " + trouble);
        }
        Thread.sleep(10);
    }

    /** Whether the topic is known and each partition answers for its end offset. */
    private boolean usable(ProbeConnection connection, String topic) throws Exception {
        JsonNode metadata = metadata(connection, topic);
        if (metadata.get("errorCode").asInt() != 0) {
            return false;
        }
        mask.nameTopic(metadata.get("topicId").asText(), topic);
        kept.put("id", kept.getOrDefault("id", JSON.createObjectNode()));
        ((ObjectNode) kept.get("id")).put(topic, metadata.get("topicId").asText());
        var partitions = JSON.createArrayNode();
        for (JsonNode partition : metadata.get("partitions")) {
            partitions.addObject().put("partitionIndex", partition.get("partitionIndex").asInt()).put("timestamp", -1);
        }
        var request = JSON.createObjectNode().put("replicaId", -1);
        request.putArray("topics").addObject().put("name", topic).set("partitions", partitions);
        connection.send(ApiKeys.LIST_OFFSETS, (short) 7, request, true);
        for (JsonNode partition : connection.receive().get("topics").get(0).get("partitions")) {
            if (partition.get("errorCode").asInt() != 0) {
                return false;
            }
        }
        return true;
    }

    /** Whether the broker speaks for a group, which need not be there. */
    private static boolean coordinated(ProbeConnection connection, JsonNode group) throws Exception {
        var request = JSON.createObjectNode();
        request.putArray("groups").add(group);
        connection.send(ApiKeys.DESCRIBE_GROUPS, (short) 5, request, true);
        return connection.receive().get("groups").get(0).get("errorCode").asInt() == 0;
    }

    private static JsonNode metadata(ProbeConnection connection, String topic) throws Exception {
        var request = JSON.createObjectNode().put("allowAutoTopicCreation", false);
        request.putArray("topics").addObject().put("name", topic);
        connection.send(ApiKeys.METADATA, (short) 12, request, true);
        return connection.receive().get("topics").get(0);
    }

    /** The body with its `$` variables replaced. */
    private JsonNode substituted(JsonNode node) {
        if (node.isObject()) {
            var object = JSON.createObjectNode();
            node.properties().forEach(field -> object.set(field.getKey(), substituted(field.getValue())));
            return object;
        }
        if (node.isArray()) {
            var array = JSON.createArrayNode();
            node.forEach(element -> array.add(substituted(element)));
            return array;
        }
        return node.isTextual() && node.asText().startsWith("$") ? variable(node.asText().substring(1)) : node;
    }

    private JsonNode variable(String name) {
        if (name.startsWith("now")) {
            String shift = name.substring("now".length());
            return JsonNodeFactory.instance.numberNode(mask.start() + (shift.isEmpty() ? 0 : Long.parseLong(shift)));
        }
        JsonNode value = kept.getOrDefault(name.substring(0, name.indexOf('.')), NullNode.instance);
        for (String field : name.substring(name.indexOf('.') + 1).split("/")) {
            value = value.path(field);
        }
        if (value.isMissingNode()) {
            throw new IllegalArgumentException("no $" + name);
        }
        return value;
    }

    /** One step of a script. */
    private static final class Step {
        private static final Pattern FOR = Pattern.compile(" for (\\w+)=(\\S+)");

        private final String name;
        private String request;
        private String versions = "";
        private String connection = "main";
        private String keepAs;
        private String until;
        private String without;
        private boolean later;
        private boolean silent;
        private JsonNode body = JSON.createObjectNode();

        private Step(String name) {
            this.name = name;
        }

        private static List<Step> parse(List<String> lines) throws IOException {
            var steps = new ArrayList<Step>();
            var paragraph = new ArrayList<String>();
            for (String line : IntStream.rangeClosed(0, lines.size()).mapToObj(n -> n < lines.size() ? lines.get(n) : "").toList()) {
                if (line.isBlank()) {
                    if (!paragraph.isEmpty()) {
                        for (List<String> one : expanded(paragraph)) {
                            steps.add(parseOne(one));
                        }
                        paragraph.clear();
                    }
                } else if (!line.startsWith("#")) {
                    paragraph.add(line);
                }
            }
            return steps;
        }

        /** The step once for each value of its first `for`, and those again for the next one. */
        private static List<List<String>> expanded(List<String> lines) {
            var loop = lines.size() < 2 ? null : FOR.matcher(lines.get(1));
            if (loop == null || !loop.find()) {
                return List.of(List.copyOf(lines));
            }
            var all = new ArrayList<List<String>>();
            String variable = loop.group(1);
            for (String value : loop.group(2).split(",")) {
                var one = new ArrayList<String>();
                one.add(lines.get(0) + " [" + variable + " " + value + "]");
                one.add(loop.replaceFirst(""));
                String[] parts = value.split(":");
                for (String line : lines.subList(2, lines.size())) {
                    for (int part = 0; part < parts.length; part++) {
                        line = line.replace("%" + variable + "." + part, parts[part]);
                    }
                    one.add(line.replace("%" + variable, value));
                }
                all.addAll(expanded(one));
            }
            return all;
        }

        private static Step parseOne(List<String> lines) throws IOException {
            if (lines.size() < 2 || !lines.get(0).startsWith("== ")) {
                throw new IOException("not a step: " + lines);
            }
            var step = new Step(lines.get(0).substring("== ".length()));
            String call = lines.get(1);
            int until = call.indexOf(" until ");
            if (until >= 0) {
                step.until = call.substring(until + " until ".length());
                call = call.substring(0, until);
            }
            var words = List.of(call.split(" ")).iterator();
            step.request = words.next();
            while (words.hasNext()) {
                String word = words.next();
                switch (word) {
                    case "on" -> step.connection = words.next();
                    case "as" -> step.keepAs = words.next();
                    case "without" -> step.without = words.next();
                    case "later" -> step.later = true;
                    case "silent" -> step.silent = true;
                    default -> step.versions = word;
                }
            }
            if (lines.size() > 2) {
                step.body = JSON.readTree(String.join("\n", lines.subList(2, lines.size())));
            }
            return step;
        }

        private List<Integer> versions(ApiKeys api) {
            if (versions.equals("*")) {
                return IntStream.rangeClosed(api.oldestVersion(), api.latestVersion(false)).boxed().toList();
            }
            var list = new ArrayList<Integer>();
            for (String part : versions.split(",")) {
                String[] ends = part.split("-");
                IntStream.rangeClosed(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1])).forEach(list::add);
            }
            return list;
        }
    }
}
