// A file of its own, so that the page's Content-Security-Policy needs no inline script.
const holder = document.getElementById("swagger");
SwaggerUIBundle({
  url: holder.dataset.openapi,
  domNode: holder,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  presets: [SwaggerUIBundle.presets.apis],
});
