// Prints how the Node module starts its containers, as one line of JSON each. The module's own code runs, with a container that
// notes what it is told instead of asking an engine. Ports are mapped to themselves.
//
//   node modules.js DIR     DIR is the package
"use strict";
const Module = require("node:module");
const path = require("node:path");

class GenericContainer {
  environment = {};
  exposedPorts = [];
  networkAliases = [];
  waitStrategy = undefined;
  command = [];
  entrypoint = [];
  constructor(image) { this.imageName = { tag: image.split(":")[1] }; }
  withExposedPorts(...ports) { this.exposedPorts.push(...ports); return this; }
  withStartupTimeout() { return this; }
  withEnvironment(more) { Object.assign(this.environment, more); return this; }
  withEntrypoint(words) { this.entrypoint = words; return this; }
  withCommand(words) { this.command = words; return this; }
  async selectWaitStrategy() { return { withStartupTimeout() {} }; }
}

const engine = {
  container: { getById: () => ({}), inspect: async () => ({}) },
  info: { containerRuntime: { hostIps: [] } },
};
const standIns = {
  testcontainers: {
    GenericContainer,
    AbstractStartedContainer: class {},
    RandomUuid: class { nextUuid() { return "uuid"; } },
    Wait: { forLogMessage: () => ({}) },
    BoundPorts: { fromInspectResult: () => ({ filter: () => ({}) }) },
    getContainerRuntimeClient: async () => engine,
    waitForContainer: async () => {},
  },
  // The image is of a version between 7.5 and 8, in which the module can do both.
  "compare-versions": { satisfies: (_, range) => !range.startsWith("<7.0") && !range.startsWith("<7.5") && !range.startsWith(">=8") },
};
const load = Module._load;
Module._load = (name, ...rest) => standIns[name] ?? load(name, ...rest);

const { KafkaContainer } = require(path.resolve(process.argv[2], "build"));

async function show(name, container) {
  await container.beforeContainerCreated();
  const later = [];
  const started = {
    getHost: () => "localhost",
    getMappedPort: (port) => port,
    getId: () => "id",
    copyContentToContainer: async (files) => later.push(...files.map((file) => [file.target, file.content])),
  };
  await container.containerStarted(started, { hostname: "tc" });
  const module = {
    name: `node-${name}`,
    env: container.environment,
    command: [...container.entrypoint, ...container.command],
    files: [],
    later,
    ready: null,
    ports: container.exposedPorts,
    port: 9093,
  };
  console.log(JSON.stringify(module));
}

(async () => {
  await show("zookeeper", new KafkaContainer("ottla:7.6.0"));
  await show("kraft", new KafkaContainer("ottla:7.6.0").withKraft());
})();
