import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.BinaryNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.stream.StreamSupport;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.utils.Crc32C;

/**
 * Record batches from and to the JSON of a script:
 *
 *   {codec: 'gzip', producerId: 5, producerEpoch: 0, sequence: 0, transactional: true, magic: 2, logAppendTime: true,
 *    records: [{key: 'k', value: 'v', timestamp: 1, headers: [['name', 'value']]}, …],
 *    repeat: 100, patch: {'57': '00000009'}, keepCrc: true}
 *
 * All fields but `records` are optional. `repeat` writes the records as often; `patch` overwrites bytes of the batch at
 * an offset, after which the CRC is made right again unless `keepCrc` is set.
 */
final class ProbeRecords {
    /** How many records of a batch are told one by one. */
    private static final int RECORDS_SHOWN = 100;
    private static final int CRC_AT = 17;
    private static final int ATTRIBUTES_AT = 21;
    private static final int LAST_OFFSET_DELTA_AT = 23;
    private static final int BASE_TIMESTAMP_AT = 27;
    private static final int RECORD_COUNT_AT = 57;
    private static final int HEADER_BYTES = 61;

    private ProbeRecords() { }

    static BinaryNode build(JsonNode batches) {
        var bytes = new ByteArrayOutputStream();
        batches.forEach(batch -> bytes.writeBytes(batch.has("hex") ? HexFormat.of().parseHex(batch.get("hex").asText()) : build1(batch)));
        return BinaryNode.valueOf(bytes.toByteArray());
    }

    private static byte[] build1(JsonNode batch) {
        var compression = Compression.of(CompressionType.forName(batch.path("codec").asText("none"))).build();
        var timestampType = batch.path("logAppendTime").asBoolean() ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME;
        try (var builder = MemoryRecords.builder(
                ByteBuffer.allocate(1 << 16), (byte) batch.path("magic").asInt(2), compression, timestampType,
                batch.path("baseOffset").asLong(0), batch.path("logAppendTime").asLong(-1),
                batch.path("producerId").asLong(-1), (short) batch.path("producerEpoch").asInt(-1),
                batch.path("sequence").asInt(-1), batch.path("transactional").asBoolean(false), -1)) {
            for (int round = 0; round < batch.path("repeat").asInt(1); round++) {
                for (JsonNode record : batch.get("records")) {
                    long timestamp = record.path("timestamp").asLong(1_700_000_000_000L);
                    builder.append(timestamp, bytes(record.path("key")), bytes(record.path("value")), headers(record.path("headers")));
                }
            }
            ByteBuffer built = builder.build().buffer();
            byte[] result = new byte[built.remaining()];
            built.get(result);
            return patched(result, batch);
        }
    }

    private static byte[] patched(byte[] bytes, JsonNode batch) {
        batch.path("patch").properties().forEach(patch -> {
            byte[] replacement = HexFormat.of().parseHex(patch.getValue().asText());
            System.arraycopy(replacement, 0, bytes, Integer.parseInt(patch.getKey()), replacement.length);
        });
        if (batch.has("patch") && !batch.path("keepCrc").asBoolean()) {
            long crc = Crc32C.compute(bytes, ATTRIBUTES_AT, bytes.length - ATTRIBUTES_AT);
            ByteBuffer.wrap(bytes).putInt(CRC_AT, (int) crc);
        }
        return bytes;
    }

    private static byte[] bytes(JsonNode text) {
        if (text.isObject()) {
            // {x: 1000}: so many times the letter x
            return "x".repeat(text.get("x").asInt()).getBytes(StandardCharsets.UTF_8);
        }
        return text.isTextual() ? text.asText().getBytes(StandardCharsets.UTF_8) : null;
    }

    private static Header[] headers(JsonNode pairs) {
        return StreamSupport.stream(pairs.spliterator(), false)
            .map(pair -> new RecordHeader(pair.get(0).asText(), bytes(pair.get(1))))
            .toArray(Header[]::new);
    }

    /** The batches of a fetched partition, each with its records as text. */
    static JsonNode describe(BaseRecords records) {
        ArrayNode batches = JsonNodeFactory.instance.arrayNode();
        if (records == null) {
            return JsonNodeFactory.instance.nullNode();
        }
        for (MutableRecordBatch batch : ((MemoryRecords) records).batches()) {
            var described = batches.addObject()
                .put("baseOffset", batch.baseOffset())
                .put("lastOffset", batch.lastOffset())
                .put("magic", batch.magic())
                .put("codec", batch.compressionType().name)
                .put("timestampType", batch.timestampType().name)
                .put("maxTimestamp", batch.maxTimestamp())
                .put("producerId", batch.producerId())
                .put("producerEpoch", batch.producerEpoch())
                .put("baseSequence", batch.baseSequence())
                .put("partitionLeaderEpoch", batch.partitionLeaderEpoch())
                .put("valid", ((DefaultRecordBatch) batch).isValid());
            describeBytes((DefaultRecordBatch) batch, described);
            var list = described.putArray("recordsInOrder");
            for (Record record : batch) {
                if (list.size() == RECORDS_SHOWN) {
                    list.add("…");
                    break;
                }
                list.add(record.offset() + ": " + text(record.key()) + " = " + text(record.value()) + headersText(record));
            }
        }
        return batches;
    }

    /** The fields that are not told otherwise, and a digest of the records as they are stored. */
    private static void describeBytes(DefaultRecordBatch batch, ObjectNode described) {
        ByteBuffer bytes = ByteBuffer.allocate(batch.sizeInBytes());
        batch.writeTo(bytes);
        bytes.flip();
        described
            .put("attributes", HexFormat.of().toHexDigits(bytes.getShort(ATTRIBUTES_AT)))
            .put("lastOffsetDelta", bytes.getInt(LAST_OFFSET_DELTA_AT))
            .put("baseTimestamp", bytes.getLong(BASE_TIMESTAMP_AT))
            .put("recordCount", bytes.getInt(RECORD_COUNT_AT))
            .put("payloadBytes", batch.sizeInBytes() - HEADER_BYTES)
            .put("payloadSum", Integer.toHexString((int) Crc32C.compute(bytes, HEADER_BYTES, batch.sizeInBytes() - HEADER_BYTES)));
    }

    private static String text(ByteBuffer bytes) {
        if (bytes == null) {
            return "null";
        }
        String text = StandardCharsets.UTF_8.decode(bytes).toString();
        return text.length() > 40 ? text.substring(0, 40) + "… (" + text.length() + ")" : text;
    }

    private static String headersText(Record record) {
        var text = new StringBuilder();
        for (Header header : record.headers()) {
            text.append(" ").append(header.key()).append("=").append(header.value() == null ? "null" : new String(header.value(), StandardCharsets.UTF_8));
        }
        return text.toString();
    }
}
