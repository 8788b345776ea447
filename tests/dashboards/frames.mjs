// What Grafana's own data library makes of panels and of the answers to their queries.
// node frames.mjs FOLDER-WITH-NODE-MODULES < panels.json > described.json
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const require = createRequire(join(process.argv[2], 'package.json'));
const grafana = require('@grafana/data');
const { lastValueFrom } = require('rxjs');
// Some of it looks for a browser once it is used, and must not find one while it is loaded.
globalThis.window = globalThis;
globalThis.navigator ??= { languages: ['en-GB'] };

// Some transformers are exported under two names, and the registry of Grafana loads each when it is used.
const transformers = new Map(Object.values(grafana.standardTransformers).map((one) => [one.id, one]));
grafana.standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((one) => ({
    id: one.id,
    name: one.name,
    description: '',
    editor: () => null,
    transformation: async () => one,
  })),
);

const units = new Set(grafana.getValueFormats().flatMap((group) => group.submenu.map((unit) => unit.value)));
const theme = grafana.createTheme();

/** Whether the theme has a colour of this name. */
function isColour(name) {
  return theme.visualization.getColorByName(name) !== name;
}

/** Names in *panel* that the library does not know, each with what it was taken for. */
function unknown(panel) {
  const found = [];
  const { defaults, overrides } = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const properties = overrides.flatMap((one) => one.properties);
  const of = (id) => [defaults[id], ...properties.filter((one) => one.id === id).map((one) => one.value)];
  const judge = (kind, values, known) =>
    values.filter((value) => value !== undefined && !known(value)).forEach((value) => found.push(`${kind} ${value}`));
  judge('unit', of('unit'), (unit) => units.has(unit));
  judge('colour mode', of('color').map((one) => one?.mode), (mode) => grafana.fieldColorModeRegistry.getIfExists(mode));
  judge('colour', of('color').map((one) => one?.fixedColor), isColour);
  judge('colour', of('thresholds').flatMap((one) => one?.steps ?? []).map((step) => step.color), isColour);
  judge('matcher', overrides.map((one) => one.matcher.id), (id) => grafana.fieldMatchers.getIfExists(id));
  judge('transformation', (panel.transformations ?? []).map((one) => one.id), (id) => transformers.has(id));
  const calcs = [panel.options?.reduceOptions?.calcs, panel.options?.legend?.calcs].flatMap((one) => one ?? []);
  judge('calculation', calcs, (id) => grafana.fieldReducers.getIfExists(id));
  return found;
}

/** The data of *panel* as it is drawn: the names, types and values of all fields, by frame. */
async function drawn({ panel, frames }) {
  const made = frames.map((frame) => grafana.toDataFrame(frame));
  const steps = panel.transformations ?? [];
  const out = await lastValueFrom(grafana.transformDataFrame(steps, made, { interpolate: (text) => text }));
  return out.map((frame) => ({
    length: frame.length,
    fields: frame.fields.map((field) => ({
      name: grafana.getFieldDisplayName(field, frame, out),
      raw: field.name,
      type: field.type,
      values: [...field.values],
    })),
  }));
}

const asked = JSON.parse(readFileSync(0, 'utf8'));
const answers = [];
for (const one of asked) {
  answers.push({ unknown: unknown(one.panel), frames: await drawn(one) });
}
process.stdout.write(JSON.stringify(answers));
