// Draws panels of a dashboard with Grafana's own components. `window.picture` is what data.py has put together.
// Heatmap and table are plugins of the Grafana application, not of its library: a few lines of HTML stand in for them.
import {
  createDataFrame, createTheme, DataFrame, FieldColorModeId, FieldType, getDisplayProcessor,
  GrafanaTheme2, reduceField, ThemeContext, TimeRange, dateTime, formattedValueToString, getFieldDisplayName,
} from '@grafana/data';
import { BarGauge, BarGaugeDisplayMode, BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode,
  BigValueTextMode, PanelChrome, TimeSeries } from '@grafana/ui';
import { VizOrientation } from '@grafana/schema';
import React from 'react';
import { createRoot } from 'react-dom/client';
// @ts-ignore
import plot from 'uplot/dist/uPlot.min.css';

type Line = { labels: Record<string, string>; legend: string; times: number[]; values: Array<number | null> };
type Drawn = { panel: any; queries: Array<{ refId: string; lines: Line[] }> };
const picture = (window as any).picture as {
  title: string; mode: 'dark' | 'light'; width: number; unit: number; from: number; to: number; panels: Drawn[];
};
const theme = createTheme({ colors: { mode: picture.mode } });
const range: TimeRange = (() => {
  const [from, to] = [dateTime(picture.from), dateTime(picture.to)];
  return { from, to, raw: { from, to } };
})();

// The options are set by hand: applying them is the work of the registry that only the application fills.
function frames({ panel, queries }: Drawn): DataFrame[] {
  const { thresholds, custom, ...defaults } = panel.fieldConfig.defaults;
  const steps = thresholds?.steps.map((step: any) => ({ ...step, value: step.value ?? -Infinity }));
  const mode = panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds;
  const lines = queries.flatMap((query) => query.lines);
  return lines.map((line, seriesIndex) => {
    const config = { ...defaults, custom, color: { mode }, thresholds: { mode: 'absolute', steps }, displayName: line.legend };
    const frame = createDataFrame({ fields: [
      { name: 'Time', type: FieldType.time, values: line.times, config: {} },
      { name: 'Value', type: FieldType.number, values: line.values, labels: line.labels, config },
    ] });
    frame.fields.forEach((field) => {
      field.state = { ...field.state, seriesIndex, range: extent(field.values) };
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    });
    return frame;
  });
}

function extent(values: Array<number | null>) {
  const known = values.filter((value): value is number => value !== null);
  const [min, max] = [Math.min(0, ...known), Math.max(0, ...known)];
  return { min, max, delta: max - min };
}

function last(frame: DataFrame) {
  const field = frame.fields[1];
  const value = reduceField({ field, reducers: ['lastNotNull'] }).lastNotNull;
  return { field, value: field.display!(value) };
}

function Stat({ drawn, width, height }: Size & { drawn: Drawn }) {
  const frame = frames(drawn)[0];
  if (!frame) { return <Nothing text={drawn.panel.fieldConfig.defaults.noValue} />; }
  const { field, value } = last(frame);
  const area = drawn.panel.options.graphMode === 'area' && field.values.length > 1;
  return <BigValue width={width} height={height} theme={theme} value={value} colorMode={BigValueColorMode.Value}
    graphMode={area ? BigValueGraphMode.Area : BigValueGraphMode.None} textMode={BigValueTextMode.Value}
    justifyMode={BigValueJustifyMode.Auto} sparkline={area ? { x: frame.fields[0], y: field } : undefined} />;
}

function Lines({ drawn, width, height }: Size & { drawn: Drawn }) {
  const data = frames(drawn);
  if (!data.length) { return <Nothing text={drawn.panel.fieldConfig.defaults.noValue} />; }
  return <TimeSeries frames={data} width={width} height={height} timeRange={range} timeZone="utc" legend={drawn.panel.options.legend}
    options={drawn.panel.options} replaceVariables={(v: string) => v} />;
}

function Bars({ drawn, width, height }: Size & { drawn: Drawn }) {
  const data = frames(drawn).map((frame) => ({ name: getFieldDisplayName(frame.fields[1], frame), ...last(frame) }));
  data.sort((a, b) => (b.value.numeric ?? 0) - (a.value.numeric ?? 0));
  const top = drawn.panel.fieldConfig.defaults.max ?? Math.max(...data.map(({ value }) => value.numeric));
  return <>{data.slice(0, 6).map(({ name, field, value }) => <BarGauge key={name} theme={theme} width={width}
    height={height / Math.min(6, data.length) - 4} value={{ ...value, title: name }} field={{ ...field.config, min: 0, max: top }}
    display={field.display!} orientation={VizOrientation.Horizontal} displayMode={BarGaugeDisplayMode.Basic} />)}</>;
}

function Heat({ drawn, width, height }: Size & { drawn: Drawn }) {
  const rows = drawn.queries[0].lines.filter((line) => line.labels.le !== '+Inf')
    .sort((a, b) => Number(b.labels.le) - Number(a.labels.le));
  const cells = rows.map((row, n) => row.values.map((value, at) =>
    Math.max(0, (value ?? 0) - (rows[n + 1]?.values[at] ?? 0))));
  const most = Math.max(1e-9, ...cells.flat());
  const [w, h] = [(width - 36) / (cells[0]?.length ?? 1), height / rows.length];
  return <svg width={width} height={height}>{rows.map((row, n) => <g key={n}>
    <text x={30} y={h * n + h / 2 + 4} textAnchor="end" fontSize={10} fill={theme.colors.text.secondary}>{Number(row.labels.le)}</text>
    {cells[n].map((value, at) => value > 0 && <rect key={at} x={36 + w * at} y={h * n} width={w - 0.5} height={h - 1}
      fill={theme.visualization.getColorByName('orange')} fillOpacity={0.15 + 0.85 * value / most} />)}</g>)}</svg>;
}

function Rows({ drawn }: { drawn: Drawn }) {
  const { panel, queries } = drawn;
  const organize = panel.transformations.find((each: any) => each.id === 'organize').options;
  const key = Object.keys(organize.indexByName).find((name) => organize.indexByName[name] === 0)!;
  const columns = queries.map(({ refId, lines }) => {
    const name = organize.renameByName[`Value #${refId}`];
    const override = panel.fieldConfig.overrides.find((each: any) => each.matcher.options === name);
    const config = Object.fromEntries(override.properties.map((p: any) => [p.id, p.value]));
    const display = getDisplayProcessor({ field: { type: FieldType.number, config }, theme });
    return { name, cell: (of: string) => {
      const value = lines.find((line) => line.labels[key] === of)?.values.at(-1);
      return value == null ? '-' : formattedValueToString(display(value));
    } };
  });
  const names = [...new Set(queries.flatMap(({ lines }) => lines.map((line) => line.labels[key])))].sort();
  const cell = { padding: '6px 10px', textAlign: 'right' as const, borderBottom: `1px solid ${theme.colors.border.weak}` };
  return <table style={{ width: '100%', borderCollapse: 'collapse', fontSize: 13 }}>
    <thead><tr><th style={{ ...cell, textAlign: 'left' }}>{key}</th>{columns.map(({ name }) => <th key={name} style={cell}>{name}</th>)}</tr></thead>
    <tbody>{names.map((name) => <tr key={name}><td style={{ ...cell, textAlign: 'left', color: theme.colors.text.link }}>{name}</td>
      {columns.map((column) => <td key={column.name} style={cell}>{column.cell(name)}</td>)}</tr>)}</tbody></table>;
}

function Nothing({ text }: { text?: string }) {
  return <div style={{ color: theme.colors.text.secondary, textAlign: 'center', paddingTop: 20 }}>{text ?? 'No data'}</div>;
}

type Size = { width: number; height: number };
const KINDS: Record<string, React.ComponentType<any>> = { stat: Stat, timeseries: Lines, bargauge: Bars, heatmap: Heat, table: Rows };

function Board() {
  const { unit, width } = picture;
  const column = width / 24;
  const bottom = Math.max(...picture.panels.map(({ panel: { gridPos: { y, h } } }) => y + h));
  return <div style={{ position: 'relative', width, height: bottom * unit + 48, background: theme.colors.background.canvas,
    color: theme.colors.text.primary, fontFamily: theme.typography.fontFamily }}>
    <h1 style={{ fontSize: 18, fontWeight: 500, margin: 0, padding: '12px 12px 0' }}>{picture.title}</h1>
    {picture.panels.map((drawn) => {
      const { panel } = drawn;
      const { x, y, w, h } = panel.gridPos;
      const style = { position: 'absolute' as const, left: x * column + 4, top: y * unit + 44 };
      if (panel.type === 'row') {
        return <div key={panel.id} style={{ ...style, paddingTop: 8, fontWeight: 500 }}>{panel.title}</div>;
      }
      const Kind = KINDS[panel.type];
      return <div key={panel.id} style={style}>
        <PanelChrome title={panel.title} width={w * column - 8} height={h * unit - 8} padding="md">
          {(innerWidth: number, innerHeight: number) => <Kind drawn={drawn} width={innerWidth} height={innerHeight} />}
        </PanelChrome></div>;
    })}</div>;
}

const sheet = document.createElement('style');
sheet.textContent = `${plot} body { margin: 0; color: ${theme.colors.text.primary}; } * { box-sizing: border-box; }
  .sr-only { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  button { color: inherit; background: none; border: 0; font: inherit; font-size: 12px; padding: 0; }`;
document.head.append(sheet);
createRoot(document.getElementById('root')!).render(<ThemeContext.Provider value={theme as GrafanaTheme2}><Board /></ThemeContext.Provider>);
