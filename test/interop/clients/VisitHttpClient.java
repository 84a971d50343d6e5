import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

/** Visits a URL with java.net.http: VisitHttpClient URL AUTHORIZATION [FILE]. Prints the status and the answer. */
public class VisitHttpClient {
  public static void main(String[] args) throws Exception {
    HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(args[0])).header("Authorization", args[1]);
    if (args.length > 2) request.POST(HttpRequest.BodyPublishers.ofFile(Path.of(args[2])));
    HttpResponse<String> answer =
        HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofString());
    System.out.println(answer.statusCode() + "\n" + answer.body());
  }
}
