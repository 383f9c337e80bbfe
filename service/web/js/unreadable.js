/** What a browser and this page together cannot show; the report's picture stands in. */
export class Unreadable extends Error {}
