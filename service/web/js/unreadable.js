/** What a browser and this page together cannot show; pictures that the service draws stand in. */
export class Unreadable extends Error {}
