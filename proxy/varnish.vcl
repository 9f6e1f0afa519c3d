# Varnish (7.1 or later) as a caching proxy in front of Shapelog. Put it at /etc/varnish/shapelog.vcl, change the address of the
# backend, and start it with room for the schemas of wide tables, which come in a header: with the defaults they would be a 503.
#
#   varnishd -a :8080 -f /etc/varnish/shapelog.vcl -s malloc,2g \
#     -p http_resp_hdr_len=32k -p http_resp_size=64k -p workspace_client=192k -p workspace_backend=192k
#
# Every open stream of events takes a thread: see `thread_pool_max`. Long polls that wait for another one take none.
#
# What it does:
# - Responses that are not live are cached as Shapelog's headers say, stale ones while they are refreshed included.
# - Equal live requests become one, for as long as it is held. What they got is kept for five seconds and never served after that.
# - Streams of events are shared too: who asks for the same one within five seconds gets it from its beginning.
# - Subsets, POST and DELETE pass through.
vcl 4.1;

import std;

backend shapelog {
    .host = "127.0.0.1";
    .port = "3000";
    # Longer than a live request is held (SHAPELOG_LONG_POLL_TIMEOUT, 20 s), and than the 21 s between two signs of life of a stream
    # of events.
    .first_byte_timeout = 65s;
    .between_bytes_timeout = 65s;
}

sub vcl_recv {
    # Shapelog repeats the request's Origin in `access-control-allow-origin`: a cached response would be for one origin only.
    # Without Origin it says `*`.
    unset req.http.Origin;
    # It does not look at cookies. Should something in between do so, it must not be behind a cache.
    unset req.http.Cookie;
    # Shapelog would repeat this one to everybody who gets the response.
    unset req.http.X-Request-Id;
    unset req.http.X-Cache-Status;

    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.url !~ "^/+v1/+shape/*(\?|$)" || req.url ~ "[?&]subset__") {
        return (pass);
    }
    # Node's own fetch never ends a compressed body that breaks off, so it gets none, as it gets none from Shapelog.
    if (req.http.User-Agent == "node") {
        unset req.http.Accept-Encoding;
    }
    # Not the built-in rules, which pass whatever has an Authorization.
    return (hash);
}

sub vcl_hash {
    # The secret is in the query. Shapelog does not look at Authorization; it is here for whatever may be in between that does.
    # There is one variant, gzip, whoever asks: Varnish uncompresses it for those who take none.
    hash_data(req.url);
    hash_data(req.http.Authorization);
    return (lookup);
}

sub vcl_backend_fetch {
    # Who fills the cache must not make a difference (see above).
    if (!bereq.uncacheable) {
        unset bereq.http.User-Agent;
    }
}

sub vcl_backend_response {
    # A refresh that fails must not replace what is still good enough.
    if (bereq.is_bgfetch && beresp.status >= 500) {
        return (abandon);
    }
    if (beresp.status == 409) {
        # Varnish would not cache it by itself. Its max-age is 1 or 60 s.
        set beresp.ttl = std.duration(regsub(beresp.http.Cache-Control, "^.*max-age=([0-9]+).*$", "\1s"), 0s);
        set beresp.grace = 0s;
        set beresp.keep = 0s;
    } else if (beresp.http.electric-cursor) {
        # Only live responses have a cursor. They say `max-age=5, stale-while-revalidate=5`; the latter would be grace, and a client would take what is
        # stale for the present state. A stream says `max-age=59`, but one that has ended early, as when the server has restarted,
        # would be played back for as long: it can be joined in its first five seconds, like any live response.
        if (beresp.ttl > 5s) {
            set beresp.ttl = 5s;
        }
        set beresp.grace = 0s;
        set beresp.keep = 0s;
    } else {
        # Grace is the response's `stale-while-revalidate`. After that it is kept to be asked for again by its ETag: the answer is
        # mostly a short 304.
        set beresp.keep = 1d;
    }
    if (beresp.ttl <= 0s || (beresp.status != 200 && beresp.status != 409) || beresp.http.Set-Cookie ||
        beresp.http.Cache-Control ~ "(?i)no-cache|no-store|private") {
        # Not cached, and those who wait for it go to the server all at once instead of one after the other. Only for a moment: the
        # built-in rule would not collapse this request for two minutes.
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        set beresp.grace = 0s;
        set beresp.keep = 0s;
    }
    return (deliver);
}

sub vcl_backend_error {
    if (bereq.is_bgfetch) {
        return (abandon);
    }
    # With an unreachable server, those who wait for the same learn so together instead of one after the other.
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
    set beresp.http.Content-Type = "application/json; charset=utf-8";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Access-Control-Allow-Origin = "*";
    set beresp.http.Retry-After = "1";
    set beresp.body = """{"message":"The server can't be reached"}""";
    return (deliver);
}

sub vcl_hit {
    set req.http.X-Cache-Status = "HIT";
    if (obj.ttl <= 0s) {
        set req.http.X-Cache-Status = "STALE";
    }
}

sub vcl_miss {
    set req.http.X-Cache-Status = "MISS";
}

sub vcl_pass {
    set req.http.X-Cache-Status = "BYPASS";
}

sub vcl_deliver {
    set resp.http.X-Cache-Status = req.http.X-Cache-Status;
}
