/** How the maps of a layer, or its units, are laid out as pictures. */

/** Whether a layer has single units rather than maps. */
export function isUnits([, height, width]) {
  return height === 1 && width === 1;
}

/** Columns of the sheet on which the units of a layer stand: 7 for the 84 of F6, as its bitmaps have. */
export function unitColumns(number) {
  if (number === 84) return 7;
  if (number <= 12) return number;
  for (let columns = Math.ceil(Math.sqrt(number)); columns <= Math.sqrt(number) * 2; columns += 1) {
    if (number % columns === 0) return columns;
  }
  return Math.ceil(Math.sqrt(number));
}

/** A layer's pictures: its maps, or one sheet of its units. */
export function sheets(grid, shape) {
  const [maps, height, width] = shape;
  if (!isUnits(shape)) return { number: maps, height, width, values: (map) => grid.part(map).values };
  const columns = unitColumns(maps);
  const rows = Math.ceil(maps / columns);
  const values = new Float32Array(rows * columns).fill(NaN);
  values.set(grid.values);
  return { number: 1, height: rows, width: columns, values: () => values };
}

/** The map, row and column of a place on a sheet of units; null beyond the last unit. */
export function unitAt(shape, row, column) {
  const unit = row * unitColumns(shape[0]) + column;
  return unit < shape[0] ? { map: unit, row: 0, column: 0 } : null;
}

/** Row and column of a unit on its sheet. */
export function placeOfUnit(shape, unit) {
  const columns = unitColumns(shape[0]);
  return { row: Math.floor(unit / columns), column: unit % columns };
}
