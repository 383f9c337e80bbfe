/** Pictures that the service draws of a job, for what browsers do not show by themselves. */

import * as api from "./api.js";
import { readRaster } from "./raster.js";

export const MOST_SIDE = 2048; // pixels of the longest side, the most that the service draws

/** One page before and after under one window, and what was taken out of it: { before, after, taken }, of 8 bits. */
export async function drawn(job, page = 0) {
  const side = async (name) => {
    const answer = await api.request(`${job.links.preview}?side=${name}&page=${page}&max=${MOST_SIDE}`);
    return readRaster(await answer.blob());
  };
  const [before, after, taken] = await Promise.all(["before", "after", "residual"].map(side));
  return { before, after, taken };
}
