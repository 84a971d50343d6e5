import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** Visits a URL with HttpURLConnection: VisitUrlConnection URL AUTHORIZATION [FILE]. Prints the status and the answer. */
public class VisitUrlConnection {
  public static void main(String[] args) throws Exception {
    HttpURLConnection connection = (HttpURLConnection) new URL(args[0]).openConnection();
    connection.setRequestProperty("Authorization", args[1]);
    if (args.length > 2) {
      connection.setDoOutput(true);
      connection.setChunkedStreamingMode(0);
      try (OutputStream body = connection.getOutputStream()) {
        Files.copy(Path.of(args[2]), body);
      }
    }
    int status = connection.getResponseCode();
    try (InputStream answer = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
      System.out.println(status + "\n" + new String(answer.readAllBytes(), StandardCharsets.UTF_8));
    }
  }
}
