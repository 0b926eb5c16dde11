//! Names, addresses and ways to them.

use super::Meaning;
use crate::judging::journal::{Row, rows};

pub(super) const ROWS: &[Row<Meaning>] = rows! { Meaning;
    HostNotReached "curl": "curl: (6) Could not resolve host: fwupd.org"
        => r"(?i)(could ?n[o']t|cannot|can't|unable to|failed to) (resolve|lookup|look up)";
    HostNotReached "curl": "curl: (28) Resolving timed out after 10001 milliseconds" => r"(?i)resolving timed out";
    HostNotReached "glibc": "Temporary failure in name resolution" => r"(?i)name resolution";
    HostNotReached "glibc": "socket.gaierror: [Errno -2] Name or service not known" => r"(?i)name or service not known";
    HostNotReached "musl": "Name does not resolve" => r"(?i)name does not resolve";
    HostNotReached "BSD's libc": "nodename nor servname provided, or not known" => r"(?i)nodename nor servname";
    HostNotReached "Go": "dial tcp: lookup idp.example.com: no such host" => r"(?i)no such host";
    HostNotReached "Go": "lookup registry-1.docker.io on 10.0.2.3:53: server misbehaving"
        => r"(?i)server misbehaving|lookup [^ ]+ on [^ ]+:\d+";
    HostNotReached "Node.js": "Error: getaddrinfo EAI_AGAIN api.example.com"
        => r"(?i)getaddrinfo|\b(EAI_AGAIN|ENOTFOUND|ENETUNREACH)\b";
    HostNotReached "Java": "java.net.UnknownHostException: repo.example.com" => r"(?i)UnknownHostException";
    HostNotReached "kernel": "connect to 1.2.3.4:443: Network is unreachable"
        => r"(?i)(network|host) (is )?(unreachable|down)\b|no route to host";
    HostNotReached "huggingface_hub": "Please check your internet connection and try again."
        => r"(?i)check your (internet|network) connection|\bno (internet|network) (connection|access)|outgoing traffic has been disabled";
    HostNotReached "ping": "ping: unknown host example.org" => r"(?i)unknown host";
    HostNotReached "ntpdate": "can't find host pool.ntp.org" => r"(?i)can't find host";
    HostNotReached "nginx": "host not found in upstream \"api.example.org\"" => r"(?i)host(name)? not found";
    HostNotReached "busybox": "wget: bad address 'example.com'" => r"(?i)bad (address|hostname) '";
    HostNotReached "any": "api.example.com: resolution failed" => r"(?i)resolution failed";
    HostNotReached "any": "unable to find suitable address" => r"(?i)unable to find suitable address";
    HostNotReached "any": "Resource temporarily unavailable (api.example.com:443)"
        => r"(?i)resource temporarily unavailable \([\w.-]+:\d+\)";
    ConnectionTimedOut "curl": "curl: (28) Connection timed out after 10001 milliseconds"
        => r"(?i)(connect(ion)?|operation|request|dial|i/o|handshake|download)[^:]{0,40}(timed out|timeout)";
    ConnectionTimedOut "Node.js": "Error: connect ETIMEDOUT 1.2.3.4:443" => r"(?i)ETIMEDOUT";
    RouteMissing "kernel": "connect to 1.2.3.4:443: Network is unreachable"
        => r"(?i)(network|host) (is )?unreachable|no route to host|E(NET|HOST)UNREACH|timed ?out|timeout";
    NamesHost "curl, ssh, psql, mount": "curl: (6) Could not resolve host: fwupd.org"
        => r"(?i)(?:could ?n[o']t|cannot|can't|unable to|failed to) (?:(?:resolve|lookup|look up|translate)|(?:find|reach) (?:the )?(?:remote |server )?(?:host|server|address)) (?:the )?(?:(?:remote|server|peer|proxy|upstream|database) )?(?:host ?names?|host(?: address)?|address(?:es)?|domain(?: name)?|name|server)?(?: for| of)?:? ?['\x22‘`(\[]*(?P<host>[\w-]+(?:\.[\w-]+)*)\.?(?:['\x22’`)\]:,;]|\s*$|\s+(?:to address|\(|port|on|from|failed|due))";
    NamesHost "Go": "dial tcp: lookup idp.example.com: no such host"
        => r"(?i)\blookup (?P<host>[\w-]+(?:\.[\w-]+)*)\.?(?: on \S+)? ?:";
    NamesHost "glibc": "Could not connect to Redis at databse:6379: Name or service not known"
        => r"(?i)\b(?:to|at|host) ['\x22\[]*(?P<host>[\w-]+(?:\.[\w-]+)*)['\x22\]]*(?: ?\([^)]*\))?(?::\d{1,5}\b|,? port \d)";
    NamesHost "iputils": "ping: databse: Name or service not known"
        => r"(?i)^(?:ping6?|arping|traceroute|telnet|rsync|ssh|nc|ntpdate|wget|mount\.\w+): (?P<host>[\w-]+(?:\.[\w-]+)*): ";
    NamesHost "rsync": "rsync: [Receiver] getaddrinfo: backup 873: Name or service not known"
        => r"(?i)getaddrinfo: (?P<host>[\w-]+(?:\.[\w-]+)*) \d+:";
    NamesHost "socat, nc": "getaddrinfo(\"databse\", \"NULL\", {1,0,1,6}, {}): Name or service not known"
        => r"(?i)getaddrinfo\(['\x22](?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Node.js": "Error: getaddrinfo EAI_AGAIN api.example.com"
        => r"(?:getaddrinfo|query\w+|connect) E\w+ (?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Java": "java.net.UnknownHostException: repo.example.com"
        => r"UnknownHostException: (?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "busybox": "wget: bad address 'example.com'"
        => r"(?i)bad (?:address|hostname) ['\x22](?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "MariaDB": "Unknown MySQL server host 'databse' (-2)"
        => r"(?i)unknown (?:\w+ )?(?:server )?host:? ['\x22]?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "nginx": "host not found in upstream \"api.example.org\""
        => r"(?i)host not found in [^\x22]*\x22(?:\w+://)?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "nginx": "databse could not be resolved (3: Host not found)"
        => r"(?i)(?:^|\s)(?P<host>[\w-]+(?:\.[\w-]+)*) could not be resolved";
    NamesHost "any": "api.example.com: resolution failed"
        => r"(?i)(?:^|\s)(?P<host>[\w-]+(?:\.[\w-]+)*): (?:resolution failed|host not found|no such host)";
    NamesHost "Python": "HTTPSConnectionPool(host='api.example.org', port=443): Max retries exceeded"
        => r"(?i)\b(?:host|hostname|server)[ =(:]+['\x22‘](?P<host>[\w-]+(?:\.[\w-]+)*)(?::\d+)?['\x22’]";
    NamesHost "bind": "** server can't find databse: NXDOMAIN"
        => r"(?i)can't find (?:host )?(?P<host>[\w-]+(?:\.[\w-]+)*)(?::|\s*$)";
    NamesHost "any": "Get \"https://acme-v02.example.org/directory\": dial tcp 1.2.3.4:443: i/o timeout"
        => r"\b[a-z][a-z0-9+.-]*://(?:[^/\s@'\x22]*@)?(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesHost "Go": "dial tcp 1.2.3.4:443: connect: no route to host"
        => r"dial (?:tcp|udp)[46]? (?P<host>[\w-]+(?:\.[\w-]+)*):\d";
    NamesHost "any": "Resource temporarily unavailable (api.example.com:443)"
        => r"(?i)(?:unavailable|unreachable|timed ?out|route to host) \((?P<host>[\w-]+(?:\.[\w-]+)*):\d{1,5}\)";
    NamesHost "wireguard-tools": "Name or service not known: `vpn.example.org:51820'"
        => r"(?i)not known: [`'\x22]*(?P<host>[\w-]+(?:\.[\w-]+)*)";
    NamesRemoteHost "any": "fetching https://cdn.fwupd.org/firmware.xml.zst"
        => r"(?i)https?://|\b(\d{1,3}\.){3}\d{1,3}\b|\b[a-z0-9-]+\.(com|org|net|io|dev|de|eu|cloud|sh|nl|uk|fr|me|app)\b";
    NamesLocalHost "any": "connect to 127.0.0.1:5432: Connection timed out"
        => r"(?i)\blocalhost\b|\b127\.\d|\[?::1\]?|unix:|\.sock\b";
    NotAboutHosts "systemd-tmpfiles": "Failed to resolve user 'app': No such process"
        => r"(?i)(resolve|lookup|look up|unknown) (the )?(user|group|path|symlink|unit|specifier|symbol|option|module|library)";
    NotAboutHosts "glibc": "getaddrinfo failed: Servname not supported for ai_socktype"
        => r"(?i)servname not supported|address family for hostname not supported";
    ResolvesAnything "any": "Could not resolve keysym XF86LeftUp"
        => r"(?i)(could ?n[o']t|cannot|can't|unable to|failed to) (resolve|lookup|look up)\b|getaddrinfo";
    NamesNameService "any": "curl: (6) Couldn't resolve host name"
        => r"(?i)\b(host ?names?|hosts?|names?|address(es)?|dns|servers?|domains?)\b";
    NamesResolver "Go": "lookup api.example.com on [::1]:53: read udp [::1]:41232->[::1]:53: read: connection refused"
        => r"(?i)\bon \S+:53\b|\b(read|write|dial) (udp|tcp) \S+:53\b";
    GatewayNotReached "iproute2": "RTNETLINK answers: Network is unreachable"
        => r"(?i)(RTNETLINK answers|SIOCADDRT): (network is|no route)";
    GatewayNotReached "iproute2": "Error: Nexthop has invalid gateway." => r"(?i)invalid gateway";
    InterfaceMissing "iproute2": "Cannot find device \"enp3s0\"" => r"(?i)cannot find device";
    InterfaceMissing "iproute2": "enp3s0: No such device" => r"(?i)no such (device|interface)";
    InterfaceMissing "nftables": "/etc/nftables.conf:12:15-20: Error: Interface does not exist"
        => r"(?i)(interface|device)\b.{0,40}(does not exist|doesn't exist|not found)";
    InterfaceMissing "dnsmasq": "unknown interface enp3s0" => r"(?i)(unknown|no|missing|invalid) (network )?interface";
    InterfaceMissing "wpa_supplicant": "Could not read interface wlp2s0 flags: No such device"
        => r"(?i)could not (find|read) interface";

    InterfaceNotMade "systemd-networkd": "wg0: netdev could not be created: Operation not supported"
        => r"^(?P<name>[^\s:]+): netdev could not be created: (?P<why>.+)$";
};
