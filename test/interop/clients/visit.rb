# Visits a URL with Net::HTTP: visit.rb URL AUTHORIZATION [FILE]. Prints the status and the answer.
require 'net/http'
require 'uri'

url, authorization, file = ARGV
uri = URI(url)
Net::HTTP.start(uri.hostname, uri.port, use_ssl: true) do |http|
  request = file ? Net::HTTP::Post.new(uri) : Net::HTTP::Get.new(uri)
  request['Authorization'] = authorization
  if file
    request['Transfer-Encoding'] = 'chunked'
    request['Content-Type'] = 'application/octet-stream'
    request.body_stream = File.open(file, 'rb')
  end
  answer = http.request(request)
  puts answer.code, answer.body
end
