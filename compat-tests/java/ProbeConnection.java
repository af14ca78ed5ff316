import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Queue;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * One connection to a broker that carries any request in any version. Requests may be sent ahead of their answers,
 * which come in the same order.
 */
final class ProbeConnection implements AutoCloseable {
    private static final int PATIENCE_MS = 30_000;

    /** A request whose answer is due. */
    private record Pending(ApiKeys api, short version, int correlationId) { }

    private final Socket socket;
    private final DataInputStream input;
    private final Queue<Pending> pending = new ArrayDeque<>();
    private int nextCorrelationId = 0;
    private boolean closed = false;

    ProbeConnection(String bootstrap) throws IOException {
        int colon = bootstrap.lastIndexOf(':');
        socket = new Socket(bootstrap.substring(0, colon), Integer.parseInt(bootstrap.substring(colon + 1)));
        socket.setSoTimeout(PATIENCE_MS);
        socket.setTcpNoDelay(true);
        input = new DataInputStream(socket.getInputStream());
    }

    /** Whether the broker closed it, or left a request without an answer. */
    boolean isClosed() {
        return closed;
    }

    void send(ApiKeys api, short version, JsonNode body, boolean answered) throws Exception {
        var header = new RequestHeaderData()
            .setRequestApiKey(api.id).setRequestApiVersion(version).setCorrelationId(nextCorrelationId).setClientId("probe");
        if (answered) {
            pending.add(new Pending(api, version, nextCorrelationId));
        }
        nextCorrelationId++;
        ByteBuffer head = MessageUtil.toByteBufferAccessor(header, api.requestHeaderVersion(version)).buffer();
        ByteBuffer message = MessageUtil.toByteBufferAccessor(ProbeSchema.request(api, version, body), version).buffer();
        write(head, message);
    }

    /** The next answer, or null if the broker closed the connection or was silent instead. */
    JsonNode receive() throws Exception {
        Pending request = pending.remove();
        ByteBuffer frame = read();
        if (frame == null) {
            return null;
        }
        var bytes = new ByteBufferAccessor(frame);
        var header = new ResponseHeaderData(bytes, request.api.responseHeaderVersion(request.version));
        if (header.correlationId() != request.correlationId) {
            throw new IOException("answer " + header.correlationId() + " to request " + request.correlationId);
        }
        ApiMessage message = request.api.messageType.newResponse();
        try {
            message.read(bytes, request.version);
        } catch (RuntimeException malformed) {
            return JsonNodeFactory.instance.objectNode().put("unreadable", malformed.getMessage());
        }
        var json = (ObjectNode) ProbeSchema.json(message, request.version);
        if (message instanceof FetchResponseData fetched) {
            addRecords(json, fetched);
        }
        if (frame.hasRemaining()) {
            json.put("bytesTooMany", frame.remaining());
        }
        return json;
    }

    /** Sends a body of any bytes after a header of version 1; gives the bytes of the answer, null if there is none. */
    ByteBuffer exchangeRaw(short key, short version, byte[] body) throws IOException {
        var header = new RequestHeaderData()
            .setRequestApiKey(key).setRequestApiVersion(version).setCorrelationId(nextCorrelationId++).setClientId("probe");
        write(MessageUtil.toByteBufferAccessor(header, (short) 1).buffer(), ByteBuffer.wrap(body));
        return read();
    }

    private static void addRecords(ObjectNode json, FetchResponseData fetched) {
        for (int t = 0; t < fetched.responses().size(); t++) {
            var partitions = fetched.responses().get(t).partitions();
            for (int p = 0; p < partitions.size(); p++) {
                var node = (ObjectNode) json.get("responses").get(t).get("partitions").get(p);
                node.set("records", ProbeRecords.describe(partitions.get(p).records()));
            }
        }
    }

    private void write(ByteBuffer head, ByteBuffer body) throws IOException {
        var frame = ByteBuffer.allocate(Integer.BYTES + head.remaining() + body.remaining());
        frame.putInt(head.remaining() + body.remaining()).put(head).put(body);
        socket.getOutputStream().write(frame.array());
    }

    private ByteBuffer read() throws IOException {
        try {
            byte[] frame = new byte[input.readInt()];
            input.readFully(frame);
            return ByteBuffer.wrap(frame);
        } catch (EOFException | SocketException | SocketTimeoutException gone) {
            closed = true;
            socket.close();
            return null;
        }
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
