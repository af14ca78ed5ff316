import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.RawTaggedField;

/**
 * Writes random messages, built and serialized by Apache Kafka's generated classes, to standard output.
 *
 * Arguments: SEED COUNT and any number of KEY:MIN:MAX. For each API, both directions and each version of the range
 * COUNT messages follow, each as
 *
 *   int16 key, int16 version, int8 direction (0 request, 1 response),
 *   int32 and bytes: the body with unknown tagged fields,
 *   int32 and bytes: the body without them,
 *   int32 and bytes: the values as JSON, fields named as in the schema.
 *
 * A key of -1 ends the stream.
 */
public final class CodecDump {
    private static final ObjectMapper JSON = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final Random random;
    private final int count;
    private final DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out, 1 << 16));

    private CodecDump(long seed, int count) {
        this.random = new Random(seed);
        this.count = count;
    }

    public static void main(String[] arguments) throws Exception {
        var dump = new CodecDump(Long.parseLong(arguments[0]), Integer.parseInt(arguments[1]));
        for (int i = 2; i < arguments.length; i++) {
            var api = arguments[i].split(":");
            var type = ApiMessageType.fromApiKey(Short.parseShort(api[0]));
            for (short version = Short.parseShort(api[1]); version <= Short.parseShort(api[2]); version++) {
                dump.dump(type, version, 0);
                dump.dump(type, version, 1);
            }
        }
        dump.out.writeShort(-1);
        dump.out.flush();
    }

    private void dump(ApiMessageType type, short version, int direction) throws Exception {
        var name = type.name + (direction == 0 ? "Request" : "Response");
        var schema = JSON.readTree(CodecDump.class.getResourceAsStream("/common/message/" + name + ".json"));
        var values = new Values(schema, version);
        var reader = Class.forName("org.apache.kafka.common.message." + name + "DataJsonConverter")
            .getMethod("read", JsonNode.class, short.class);
        for (int i = 0; i < count; i++) {
            var json = values.message();
            var message = (ApiMessage) reader.invoke(null, json, version);
            var plain = serialized(message, version);
            if (contains(schema.get("flexibleVersions").textValue(), version)) {
                addUnknownTaggedFields(message, json);
            }
            out.writeShort(type.apiKey());
            out.writeShort(version);
            out.writeByte(direction);
            write(serialized(message, version));
            write(plain);
            write(json.toString().getBytes(StandardCharsets.UTF_8));
        }
    }

    private void write(byte[] bytes) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    private static byte[] serialized(Message message, short version) {
        return MessageUtil.byteBufferToArray(MessageUtil.toByteBufferAccessor(message, version).buffer());
    }

    /**
     * Adds fields with tags that no schema uses to the message and to the structures in it that JSON has. A structure
     * with its default values stays as it is: it may be a tagged field, which is on the wire only if it differs.
     */
    private void addUnknownTaggedFields(Message message, JsonNode json) throws ReflectiveOperationException {
        if (!message.equals(message.getClass().getConstructor().newInstance())) {
            for (int tag : new int[] {20, 200, 70_000, Integer.MAX_VALUE - 1}) {
                if (random.nextInt(4) == 0) {
                    message.unknownTaggedFields().add(new RawTaggedField(tag, bytes()));
                }
            }
        }
        for (var names = json.fieldNames(); names.hasNext(); ) {
            var name = names.next();
            var field = message.getClass().getDeclaredField(name);
            field.setAccessible(true);
            var value = field.get(message);
            if (value instanceof Message struct) {
                addUnknownTaggedFields(struct, json.get(name));
            } else if (value instanceof Iterable<?> elements) {
                int index = 0;
                for (var element : elements) {
                    if (element instanceof Message struct) {
                        addUnknownTaggedFields(struct, json.get(name).get(index));
                    }
                    index++;
                }
            }
        }
    }

    private byte[] bytes() {
        var bytes = new byte[new int[] {0, 1, 7, 127, 128, 300}[random.nextInt(6)]];
        random.nextBytes(bytes);
        return bytes;
    }

    /** Whether VERSIONS, such as "none", "3", "3-5" or "3+", contains VERSION. */
    private static boolean contains(String versions, int version) {
        if (versions.equals("none")) {
            return false;
        }
        if (versions.endsWith("+")) {
            return version >= Integer.parseInt(versions.substring(0, versions.length() - 1));
        }
        var ends = versions.split("-");
        return version >= Integer.parseInt(ends[0]) && version <= Integer.parseInt(ends[ends.length - 1]);
    }

    /** Random values for one message and version, along its schema. */
    private final class Values {
        private final JsonNode schema;
        private final int version;
        private final Map<String, JsonNode> commonStructs = new HashMap<>();

        Values(JsonNode schema, int version) {
            this.schema = schema;
            this.version = version;
            for (var struct : schema.path("commonStructs")) {
                commonStructs.put(struct.get("name").textValue(), struct.get("fields"));
            }
        }

        ObjectNode message() {
            return struct(schema.get("fields"));
        }

        private ObjectNode struct(JsonNode fields) {
            var struct = NODES.objectNode();
            for (var field : fields) {
                boolean leftOut = field.has("tag") && random.nextInt(3) == 0;
                if (contains(field.get("versions").textValue(), version) && !leftOut) {
                    var name = field.get("name").textValue();
                    struct.set(name.substring(0, 1).toLowerCase() + name.substring(1), value(field));
                }
            }
            return struct;
        }

        private JsonNode value(JsonNode field) {
            var type = field.get("type").textValue();
            boolean nullable = field.has("nullableVersions") && contains(field.get("nullableVersions").textValue(), version);
            // A broker sends no null records; ours cannot.
            boolean neverNull = type.equals("records") && schema.get("name").textValue().equals("FetchResponse");
            if (nullable && !neverNull && random.nextInt(4) == 0) {
                return NODES.nullNode();
            }
            if (!type.startsWith("[]")) {
                return single(type, field);
            }
            var array = NODES.arrayNode();
            for (int left = new int[] {0, 0, 1, 1, 1, 2, 2, 3, 3, 12}[random.nextInt(10)]; left > 0; left--) {
                array.add(single(type.substring(2), field));
            }
            return array;
        }

        private JsonNode single(String type, JsonNode field) {
            switch (type) {
                case "bool": return NODES.booleanNode(random.nextBoolean());
                case "int8": return NODES.numberNode((byte) integer());
                case "int16": return NODES.numberNode(field.get("name").textValue().equals("ErrorCode") ? errorCode() : (short) integer());
                case "uint16": return NODES.numberNode((int) integer() & 0xffff);
                case "int32": return NODES.numberNode((int) integer());
                case "int64": return NODES.numberNode(integer());
                case "uuid": return NODES.textNode(new Uuid(integer(), integer()).toString());
                case "string": return NODES.textNode(string());
                case "bytes":
                case "records": return NODES.binaryNode(bytes());
                default: return struct(field.has("fields") ? field.get("fields") : commonStructs.get(type));
            }
        }

        private short errorCode() {
            return Errors.values()[random.nextInt(Errors.values().length)].code();
        }

        private long integer() {
            switch (random.nextInt(6)) {
                case 0: return 0;
                case 1: return -1;
                case 2: return new long[] {Byte.MAX_VALUE, Short.MAX_VALUE, Integer.MAX_VALUE, Long.MAX_VALUE}[random.nextInt(4)];
                case 3: return new long[] {Byte.MIN_VALUE, Short.MIN_VALUE, Integer.MIN_VALUE, Long.MIN_VALUE}[random.nextInt(4)];
                default: return random.nextLong();
            }
        }

        private String string() {
            switch (random.nextInt(12)) {
                case 0:
                case 1: return "";
                case 2: return "\u0000\t\"\\'\n";
                case 3: return "Gr\u00fc\u00dfe \ud83e\udda6";
                case 4: return "x".repeat(new int[] {126, 127, 128, 300}[random.nextInt(4)]);
                case 5: return random.nextInt(100) == 0 ? "y".repeat(Short.MAX_VALUE) : "y";
                default: return Long.toString(random.nextLong(), 36);
            }
        }
    }
}
