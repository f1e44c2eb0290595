package e2e

// smallDocument is an OpenAPI document of one operation.
const smallDocument = "openapi: 3.1.0\ninfo: {title: Small, version: '1'}\npaths: {/things: {get: {operationId: listThings, responses: {'200': {description: Things.}}}}}\n"

// httpExamples are those of what is there for kind http.
func httpExamples() map[string]*example {
	return map[string]*example{"inspectOpenAPI": {body: object{"document": smallDocument, "operations": []string{"listThings"}}}}
}
