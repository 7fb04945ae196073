"""Who may open connections to whom, read off the rendered policies and pods: the arrows of ARCHITECTURE.md, and no others."""

from rendering import VALUES, chart, component, kustomization, main, workloads

PORTS = {"gateway": 8081, "provider-router": 8082, "cost-ledger": 8083, "vector-store": 8084, "admin": 8085, "postgresql": 5432, "redis": 6379}
OPERATIONS = 9090
# caller: whom it calls
ARROWS = {
    "gateway": {"provider-router", "cost-ledger", "vector-store", "admin"},
    "provider-router": {"cost-ledger", "vector-store", "admin"},
    "cost-ledger": {"admin", "postgresql"},
    "vector-store": {"admin", "postgresql", "redis"},
    "admin": {"postgresql"},
    "job": {"gateway", "postgresql"},
    "postgresql": set(),
    "redis": set(),
}
# which ports outside the release each may reach; 53 are names
OUTSIDE = {
    "gateway": {53},
    "provider-router": {53, 443},
    "cost-ledger": {53, 5432},
    "vector-store": {53, 5432, 6379},
    "admin": {53, 5432},
    "job": {53, 5432},
}


class Network:
    """Pods of one namespace under its policies."""

    def __init__(self, objects):
        self.policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
        self.labels, self.ports = {}, {}
        for name, workload in workloads(objects).items():
            template = workload["spec"]["template"]
            self.labels[name] = template["metadata"]["labels"]
            self.ports[name] = {port["name"]: port["containerPort"] for of in template["spec"]["containers"] for port in of["ports"]}
        for one in objects:
            if one["kind"] == "Job":
                self.labels["job"], self.ports["job"] = one["spec"]["template"]["metadata"]["labels"], {}

    def rules(self, name, way):
        """The rules that hold a pod in one direction; None: none does."""
        held = [of for of in self.policies if way.capitalize() in of["policyTypes"] and selects(of["podSelector"], self.labels[name])]
        return [rule for of in held for rule in of.get(way) or []] if held else None

    def allows(self, caller, called, port):
        return self.passes(self.rules(caller, "egress"), "to", called, called, port) and self.passes(
            self.rules(called, "ingress"), "from", caller, called, port)

    def passes(self, rules, side, peer, server, port):
        if rules is None:
            return True
        return any(self.is_of(rule, server, port) and any(self.is_peer(one, peer) for one in rule.get(side) or [{}]) for rule in rules)

    def is_of(self, rule, server, port):
        named = self.ports.get(server, {})
        return "ports" not in rule or any(named.get(one["port"], one["port"]) == port for one in rule["ports"])

    def is_peer(self, peer, name):
        if not peer:
            return True
        # other namespaces and addresses are not pods of this one
        return "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], self.labels[name])

    def outside(self, name, way, side):
        """Ports over which something that is no pod of ours is reached, or reaches in."""
        open_ports = set()
        for rule in self.rules(name, way):
            peers = rule.get(side) or [{}]
            if any(not peer or "ipBlock" in peer or "namespaceSelector" in peer for peer in peers):
                assert rule.get("ports"), f"{name} {way}: all ports are open to the outside"
                open_ports |= {self.ports[name].get(one["port"], one["port"]) for one in rule["ports"]}
        return open_ports


def selects(selector, labels):
    assert set(selector) <= {"matchLabels"}, f"this test does not know {selector}"
    return selector.get("matchLabels", {}).items() <= labels.items()


def holds(objects, where):
    network = Network(objects)
    assert set(PORTS) - {"postgresql", "redis"} <= network.labels.keys(), where
    every = {*PORTS.values(), OPERATIONS, 22, 53, 80, 443}
    for caller in network.labels:
        assert network.rules(caller, "egress") is not None and network.rules(caller, "ingress") is not None, f"{where}: {caller} is free"
        for called in network.labels:
            if caller == called:
                continue
            allowed = {port for port in every if network.allows(caller, called, port)}
            # agents may call the gateway from anywhere, unless somebody says from where: not a way for services, whose egress is closed
            wanted = {PORTS[called]} if called in ARROWS[caller] and called in PORTS else set()
            assert allowed == wanted, f"{where}: {caller} → {called} on {sorted(allowed)}, should be {sorted(wanted)}"
    for name in network.labels.keys() & OUTSIDE.keys():
        reached = network.outside(name, "egress", "to")
        more = {"postgresql": 5432, "redis": 6379}
        inside = {port for of, port in more.items() if of in network.labels}
        redis = {6379, 6380}
        wanted = OUTSIDE[name] - inside
        # the port of Redis is the operator's
        assert {6379 if port in redis else port for port in reached} == wanted, f"{where}: {name} reaches {sorted(reached)} outside"
        reaching = network.outside(name, "ingress", "from") if network.rules(name, "ingress") else set()
        may = {"gateway": {8081, OPERATIONS}, "job": set()}.get(name, {OPERATIONS})
        assert reaching <= may, f"{where}: {name} is reached from outside on {sorted(reaching)}"
    for name in ("postgresql", "redis"):
        if name in network.labels:
            assert not network.outside(name, "egress", "to") and not network.outside(name, "ingress", "from"), f"{where}: {name}"


def the_chart_allows_the_arrows_and_no_others():
    """In every set of values."""
    for values in VALUES:
        holds(chart(values), values)


def kustomizations_allow_the_arrows_and_no_others():
    """In base and overlays."""
    for folder in ("base", "overlays/small", "overlays/production"):
        holds(kustomization(folder), folder)


def providers_are_the_internet_and_not_the_neighbours():
    """HTTPS of the router goes to public addresses only; the metadata service of clouds is among those that it cannot reach."""
    import ipaddress

    for values in VALUES:
        policy, = (one for one in chart(values) if one["kind"] == "NetworkPolicy" and component(one) == "provider-router")
        blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
        for address in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"):
            for block in blocks:
                out = [ipaddress.ip_network(one) for one in block.get("except", [])]
                assert any(ipaddress.ip_address(address) in one for one in out), f"{values}: the router reaches {address}"


if __name__ == "__main__":
    main(
        the_chart_allows_the_arrows_and_no_others,
        kustomizations_allow_the_arrows_and_no_others,
        providers_are_the_internet_and_not_the_neighbours,
    )
