// A file of its own, so that the page's Content-Security-Policy needs no inline script.
const holder = document.getElementById("swagger");
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();
for (const place of document.querySelectorAll("[data-origin]")) place.textContent = location.origin;


// Swagger UI makes up a value for every field of a form and sends it. Here a field is empty, and sent once it is filled in.
function emptyForms(schema) {
  for (const operation of Object.values(schema.paths).flatMap(Object.values)) {
    const fields = operation.requestBody?.content?.["multipart/form-data"]?.schema?.properties ?? {};
    for (const field of Object.values(fields)) if (field.format !== "binary" && field.type !== "array") field.example = "";
  }
  return schema;
}

const sentOnceFilledIn = {
  wrapComponents: {
    JsonSchemaForm: (Form, { React }) => ({ dispatchInitialValue, ...rest }) =>
      React.createElement(Form, dispatchInitialValue ? rest : { dispatchInitialValue, ...rest }),
  },
};

const answer = await fetch(holder.dataset.openapi);
SwaggerUIBundle({
  spec: emptyForms(await answer.json()),
  domNode: holder,
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  plugins: [sentOnceFilledIn],
  presets: [SwaggerUIBundle.presets.apis],
});
