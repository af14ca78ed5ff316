import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.NullNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Message;

/** Turns the short JSON of a script into a request, with the message schemas that the kafka-clients jar carries. */
final class ProbeSchema {
    private static final ObjectMapper SCHEMAS =
        JsonMapper.builder().enable(JsonReadFeature.ALLOW_JAVA_COMMENTS).build();

    private ProbeSchema() { }

    /** The API with that name in the protocol, such as `CreateTopics`. */
    static ApiKeys api(String name) {
        return Arrays.stream(ApiKeys.values()).filter(api -> api.name.equals(name)).findFirst()
            .orElseThrow(() -> new IllegalArgumentException("no API " + name));
    }

    static ApiMessage request(ApiKeys api, short version, JsonNode body) throws Exception {
        JsonNode schema;
        try (var file = ProbeSchema.class.getResourceAsStream("/common/message/" + api.name + "Request.json")) {
            schema = SCHEMAS.readTree(file);
        }
        JsonNode complete = struct(schema, schema.get("fields"), version, body);
        Class<?> message = api.messageType.newRequest().getClass();
        return (ApiMessage) converter(message).getMethod("read", JsonNode.class, short.class).invoke(null, complete, version);
    }

    static JsonNode json(Message message, short version) throws Exception {
        Class<?> type = message.getClass();
        return (JsonNode) converter(type).getMethod("write", type, short.class).invoke(null, message, version);
    }

    private static Class<?> converter(Class<?> message) throws ClassNotFoundException {
        return Class.forName(message.getName() + "JsonConverter");
    }

    /** The fields of a struct that the version has, as given or with their defaults. */
    private static ObjectNode struct(JsonNode schema, JsonNode fields, short version, JsonNode given) {
        var complete = JsonNodeFactory.instance.objectNode();
        List<String> unknown = new ArrayList<>();
        given.fieldNames().forEachRemaining(unknown::add);
        for (JsonNode field : fields) {
            String name = Character.toLowerCase(field.get("name").asText().charAt(0)) + field.get("name").asText().substring(1);
            unknown.remove(name);
            if (contains(field.get("versions").asText(), version)) {
                JsonNode value = value(schema, field, version, given.get(name));
                // A tagged field is left out where it has its default.
                if (given.has(name) || !contains(field.path("taggedVersions").asText("none"), version)) {
                    complete.set(name, value);
                }
            }
        }
        if (!unknown.isEmpty()) {
            throw new IllegalArgumentException("no fields " + unknown + " in " + schema.get("name"));
        }
        return complete;
    }

    private static JsonNode value(JsonNode schema, JsonNode field, short version, JsonNode given) {
        String type = field.get("type").asText();
        boolean list = type.startsWith("[]");
        if (given == null) {
            return list ? emptyList(field, version) : defaultOf(field, type);
        }
        if (type.equals("records") && given.isArray()) {
            return ProbeRecords.build(given);
        }
        JsonNode fields = fieldsOf(schema, field, type.replace("[]", ""));
        if (given.isNull() || fields == null) {
            return given;
        }
        if (!list) {
            return struct(schema, fields, version, given);
        }
        var elements = JsonNodeFactory.instance.arrayNode();
        given.forEach(element -> elements.add(struct(schema, fields, version, element)));
        return elements;
    }

    /** The fields of a struct type, which stand at the field or among the common structs; null for other types. */
    private static JsonNode fieldsOf(JsonNode schema, JsonNode field, String type) {
        for (JsonNode common : schema.path("commonStructs")) {
            if (common.get("name").asText().equals(type)) {
                return common.get("fields");
            }
        }
        return field.get("fields");
    }

    /** What stands for no elements: null where it is allowed. */
    private static JsonNode emptyList(JsonNode field, short version) {
        boolean nullable = contains(field.path("nullableVersions").asText("none"), version);
        return nullable ? NullNode.instance : JsonNodeFactory.instance.arrayNode();
    }

    private static JsonNode defaultOf(JsonNode field, String type) {
        String text = field.path("default").asText("");
        var nodes = JsonNodeFactory.instance;
        if (text.equals("null")) {
            return NullNode.instance;
        }
        return switch (type) {
            case "bool" -> nodes.booleanNode(Boolean.parseBoolean(text));
            case "string", "bytes" -> nodes.textNode(text);
            case "uuid" -> nodes.textNode(Uuid.ZERO_UUID.toString());
            case "records" -> NullNode.instance;
            default -> nodes.numberNode(text.isEmpty() ? 0L : Long.decode(text));
        };
    }

    /** Whether a range such as `3`, `2-5`, `4+` or `none` contains the version. */
    private static boolean contains(String range, short version) {
        if (range.equals("none")) {
            return false;
        }
        if (range.endsWith("+")) {
            return version >= Short.parseShort(range.substring(0, range.length() - 1));
        }
        String[] ends = range.split("-");
        return version >= Short.parseShort(ends[0]) && version <= Short.parseShort(ends[ends.length - 1]);
    }
}
